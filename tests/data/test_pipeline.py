"""The stream of batches: the same everywhere and after every restart, each image once an epoch, errors counted."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest
from fabricated import blobs, picture

from ranet_jax.data.config import PasteConfig, SampleConfig
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.pipeline import Part, measure_pipeline, training_batches
from ranet_jax.data.samples import clip, static_pair, video_pair
from ranet_jax.data.sources import MemorySource, UnreadableError, davis_videos
from ranet_jax.errors import InputError

CONFIG = SampleConfig(size=(32, 48), max_objects=2, paste=PasteConfig(0.5))


def batches(parts, index=0, count=1, batch_size=2, **options):
    shard = {"process_index": index, "process_count": count}
    return training_batches(parts, batch_size=batch_size, seed=3, **shard, **options)


def take(dataset, count):
    return list(itertools.islice(dataset, count))


def assert_same(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert sorted(one) == sorted(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_batches_are_stacked_samples(videos):
    batch = take(batches([Part(videos, video_pair, CONFIG)]).dataset, 1)[0]
    assert batch["images"].shape == (2, 2, 32, 48, 3)
    assert batch["labels"].shape == (2, 2, 32, 48)
    assert batch["previous_labels"].shape == (2, 32, 48)
    assert batch["valid"].shape == (2, 2)
    assert batch["images"].dtype == np.uint8
    assert set(batch["name"]) <= {videos.name(i) for i in range(len(videos))}


@pytest.mark.parametrize("threads", [1, 4])
def test_same_stream_with_any_number_of_threads(videos, threads):
    parts = [Part(videos, video_pair, CONFIG)]
    assert_same(take(batches(parts, threads=2).dataset, 6), take(batches(parts, threads=threads).dataset, 6))


def test_restored_iterator_continues_with_the_same_batches(videos):
    """As a checkpoint does it: the state alone, in a pipeline that is built anew."""
    parts = [Part(videos, video_pair, CONFIG), Part(videos, static_pair, CONFIG, 0.5)]
    iterator = iter(batches(parts).dataset)
    take(iterator, 9)  # into the second epoch
    state = iterator.get_state()
    expected = take(iterator, 8)
    restored = iter(batches(parts).dataset)
    restored.set_state(state)
    assert_same(take(restored, 8), expected)


def test_another_seed_is_another_stream(videos):
    parts = [Part(videos, video_pair, CONFIG)]
    shard = {"process_index": 0, "process_count": 1}
    one, other = (next(iter(training_batches(parts, batch_size=8, seed=s, **shard).dataset)) for s in (0, 1))
    assert list(one["name"]) != list(other["name"])


def test_processes_share_one_stream(videos):
    """Batch k of one process is the k-th batches of two processes, sample by sample."""
    stills = MemorySource([videos[i] for i in range(6)])  # of which no sample is left out
    parts = [Part(videos, video_pair, CONFIG), Part(stills, static_pair, CONFIG)]
    whole = take(batches(parts, batch_size=4).dataset, 5)
    shards = [take(batches(parts, i, 2, batch_size=2).dataset, 5) for i in range(2)]
    for batch, even, odd in zip(whole, *shards, strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key][0::2], even[key])
            np.testing.assert_array_equal(batch[key][1::2], odd[key])


def test_every_frame_once_an_epoch_in_a_new_order(videos):
    n = len(videos)
    stream = batches([Part(videos, static_pair, SampleConfig(size=(32, 48)))], batch_size=1).dataset
    # The frames without an object yield no sample.
    seen = n - 2
    names = [str(batch["name"][0]) for batch in take(stream, 3 * seen)]
    epochs = [names[i * seen : (i + 1) * seen] for i in range(3)]
    expected = {videos.name(i) for i in range(n) if videos.labels(i).any()}
    assert all(set(epoch) == expected for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_samples_of_two_epochs_differ(videos):
    one = MemorySource([videos[0]])
    first, second = take(batches([Part(one, static_pair, CONFIG)], batch_size=1).dataset, 2)
    assert np.any(first["images"] != second["images"])


def test_mixture_follows_its_weights(videos):
    two = [MemorySource([videos[i]]) for i in (0, 10)]
    data = batches([Part(two[0], static_pair, CONFIG, 3.0), Part(two[1], static_pair, CONFIG, 1.0)], batch_size=8)
    counts = collections.Counter(str(name) for batch in take(data.dataset, 5) for name in batch["name"])
    assert counts == {"first/0": 30, "third/0": 10}
    assert data.epoch_samples == 4


def test_epoch_samples(videos):
    assert batches([Part(videos, video_pair, CONFIG)]).epoch_samples == 13
    three = [Part(videos, video_pair, CONFIG, 1.0), Part(MemorySource([videos[0]]), static_pair, CONFIG, 3.0)]
    assert batches(three).epoch_samples == 13 * 4


def test_unreadable_files_stop_or_are_counted(davis_root, cut_off):
    tree = DavisTree(davis_root, 2017)
    source = davis_videos(tree, tree.sequences("train"))
    cut_off(source.file(1).image)
    parts = [Part(source, static_pair, SampleConfig(size=(32, 48)))]
    with pytest.raises(UnreadableError, match=r"walk/00001\.jpg"):
        take(batches(parts, batch_size=1).dataset, 6)
    data = batches(parts, batch_size=1, on_error="skip")
    names = {str(batch["name"][0]) for batch in take(data.dataset, 20)}
    assert names == {source.name(i) for i in range(6) if i != 1}
    assert data.skipped.unreadable >= 3
    (message,) = data.skipped.messages
    assert "walk/00001.jpg" in message
    assert data.skipped.messages[message] == data.skipped.unreadable


def marked(labels, name="set"):
    return MemorySource([picture(part, f"{name}/{i}") for i, part in enumerate(labels)], [len(labels)])


NOTHING = np.zeros_like(blobs(1))
POINT = NOTHING.copy()
POINT[5, 5] = 1


@pytest.mark.parametrize("sample", [static_pair, video_pair, clip])
@pytest.mark.parametrize("process", [0, 1])
def test_a_source_without_an_object_is_an_error_that_names_it(sample, process):
    parts = [Part(marked([NOTHING] * 5, "bare"), sample, CONFIG)]
    with pytest.raises(InputError, match=r"5 images \(bare/0 to bare/4\): the last tried shows no object"):
        next(iter(batches(parts, process, 2).dataset))


def test_an_empty_part_of_a_mixture_is_named(videos):
    parts = [Part(videos, static_pair, CONFIG), Part(marked([NOTHING] * 3, "bare"), static_pair, CONFIG, 0.5)]
    with pytest.raises(InputError, match=r"3 images \(bare/0 to bare/2\)"):
        take(batches(parts).dataset, 1000)


def test_objects_too_small_for_any_sample_are_an_error_that_tells_the_size():
    parts = [Part(marked([POINT] * 4), static_pair, dataclasses.replace(CONFIG, size=(8, 8), paste=PasteConfig(0.0)))]
    with pytest.raises(InputError, match="none that is left at 8x8"):
        take(batches(parts).dataset, 1000)


@pytest.mark.parametrize("count", [1, 3])
def test_one_good_image_among_many_is_enough(count):
    """Of 300, each process sees it once in so many epochs; the threads count in any order."""
    source = MemorySource([picture(blobs(1) if i == 120 else NOTHING, f"set/{i}") for i in range(300)])
    stream = batches([Part(source, static_pair, CONFIG)], count - 1, count, batch_size=1, threads=4).dataset
    assert [str(batch["name"][0]) for batch in take(stream, 8)] == ["set/120"] * 8


def test_masks_over_the_whole_frame_and_single_annotated_frames_give_samples():
    for sample in (static_pair, video_pair, clip):
        for source in (marked([NOTHING + 1] * 3), marked([blobs(1)]), marked([NOTHING, blobs(1), NOTHING])):
            batch = take(batches([Part(source, sample, CONFIG)]).dataset, 1)[0]
            assert batch["valid"].any(axis=1).all()


def test_where_no_file_can_be_read_skipping_ends_with_one_of_them(davis_root, cut_off):
    tree = DavisTree(davis_root, 2017)
    source = davis_videos(tree, tree.sequences("train"))
    for i in range(len(source)):
        cut_off(source.file(i).image)
    data = batches([Part(source, static_pair, SampleConfig(size=(32, 48)))], batch_size=1, on_error="skip")
    with pytest.raises(InputError, match=r"6 images \(.*walk/00000 to .*swim/00001\): .* unreadable file .*\.jpg"):
        next(iter(data.dataset))


def test_samples_without_an_object_are_counted(videos):
    data = batches([Part(videos, static_pair, CONFIG)], batch_size=1)
    take(data.dataset, 11)
    assert data.skipped.empty >= 2
    assert data.skipped.unreadable == 0


def test_clips(videos):
    config = SampleConfig(size=(32, 48), clip_length=3)
    batch = take(batches([Part(videos, clip, config)]).dataset, 1)[0]
    assert batch["images"].shape == (2, 3, 32, 48, 3)


def test_wrong_arguments_are_refused(videos):
    part = Part(videos, video_pair, CONFIG)
    with pytest.raises(InputError, match="on_error"):
        batches([part], on_error="ignore")
    with pytest.raises(InputError, match="process 2 of 2"):
        batches([part], 2, 2)
    with pytest.raises(InputError, match="at least one image"):
        batches([Part(MemorySource([]), video_pair, CONFIG)])
    with pytest.raises(InputError, match="weight"):
        batches([Part(videos, video_pair, CONFIG, 0.0)])


def test_measuring(videos):
    assert measure_pipeline(batches([Part(videos, video_pair, CONFIG)]).dataset, 0.1) > 1
