"""The tracker of both networks: sizes, ids, masks at any frame, compilations, and the host's part in a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.tracker import AspectBox, Presence, Target, Tracker, TrackerConfig, WholeFrame, compiled_steps
from ranet_jax.tracker.objects import check_frame_size
from ranet_jax.tracker.references import orphans, place_for, reference_bucket
from ranet_jax.tracker.window import Letterbox
from ranet_jax.training.rollout import Clip, Objective, rollout
from ranet_jax.weights import initial_variables

MICRO = {
    "backbone": "resnet_micro",
    "backbone_norm": "instance",
    "input_size": (64, 96),
    "matching_head_features": (8, 8, 8),
    "matching_features": 8,
    "ranking_features": 8,
    "objects": "multi",
}
SMALL_MRNET = {"backbone": "resnet_micro", "input_size": (64, 96), "decoder_features": (8, 8), "interval": 1}
SOFT = TrackerConfig.mrnet()
CASES = {
    "released": (RANetConfig(**MICRO, template_grid=(2, 3), kept_maps=6, ranking_planes=4), TrackerConfig()),
    "lite": (RANetConfig.lite(**MICRO, template_grid=(4, 6), kept_maps=16), TrackerConfig.lite()),
    "mrnet": (MRNetConfig.lite(**SMALL_MRNET, candidates=2), SOFT),
    "mrnet and target": (
        MRNetConfig.lite(**SMALL_MRNET, candidates=2, hints=1),
        dataclasses.replace(SOFT, target=Target(), presence=Presence()),
    ),
}


# All compile for minutes: of each network the one with the most in it is among the fast tests.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("released", "mrnet")]


@pytest.fixture(scope="module", params=["lite", "mrnet and target", *SLOW])
def case(request):
    config, tracker = CASES[request.param]
    return config, tracker, jax.device_put(initial_variables(config, seed=1))


def video(rng, size, ids, count=4):
    height, width = size
    frames = rng.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    labels = np.zeros(size, np.uint8)
    for i, value in enumerate(ids):
        labels[height // 4 : height // 2, 2 + i * (width // (len(ids) + 1)) :][:, : width // (len(ids) + 2)] = value
    return frames, labels


def track(tracker, variables, frames, given):
    """Label maps of all frames; `given` by number, the first of them 0."""
    later = {number: labels for number, labels in given.items() if number}
    ids = sorted({int(v) for labels in later.values() for v in np.unique(labels)} - {0})
    state = tracker.init(variables, frames[0], given[0], objects=ids, references=len(given))
    found = [given[0]]
    for number, frame in enumerate(frames[1:], 1):
        if number in later:
            state, labels, _ = tracker.annotate(variables, state, frame, later[number])
        else:
            state, labels, _ = tracker.step(variables, state, frame)
        found.append(np.asarray(labels))
    return found, state


@pytest.mark.parametrize(
    "size", [(64, 96), (50, 120), *(pytest.param(size, marks=pytest.mark.slow) for size in ((97, 61), (130, 200)))]
)
def test_any_frame_size_comes_back_in_its_own(case, rng, size):
    config, how, variables = case
    frames, labels = video(rng, size, (3,))
    tracker = Tracker(config, how, size)
    state = tracker.init(variables, frames[0], labels)
    state, label_map, probability = tracker.step(variables, state, frames[1])
    assert label_map.shape == size
    assert label_map.dtype == jnp.uint8
    assert probability.shape == (*size, 1)
    assert set(np.unique(label_map)) <= {0, 3}
    assert 0 <= float(probability.min()) <= float(probability.max()) <= 1


def test_label_ids_with_gaps_and_padding_of_the_bucket(case, rng):
    config, how, variables = case
    ids = (1, 5, 9, 17, 33, 65, 129, 200, 255)
    frames, labels = video(rng, (64, 96), ids)
    tracker = Tracker(config, how, (64, 96))
    state = tracker.init(variables, frames[0], labels)
    np.testing.assert_array_equal(state.ids, [*ids, 0])
    np.testing.assert_array_equal(state.knowledge.valid, [[True] * 9 + [False]])
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for frame in frames[1:]:
        state, label_map, probability = tracker.step(variables, state, frame)
        assert set(np.unique(label_map)) <= {0, *ids}
        np.testing.assert_array_equal(probability[..., 9], 0)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes, "nothing grows with the video"


def test_tracking_a_video_equals_its_rollout(case, rng):
    """The law: training's scan and the tracker are one step."""
    config, how, variables = case
    how = dataclasses.replace(how, window=WholeFrame())
    frames, labels = video(rng, (64, 96), (1, 2), count=6)
    tracker = Tracker(config, how, (64, 96))
    state = tracker.init(variables, frames[0], labels)
    clip = Clip(jnp.asarray(frames)[None], jnp.asarray(np.stack([labels] * 6))[None], jnp.ones((1, 2), bool))
    # Where the target model's solver ends depends on last bits: its solution is good to a thousandth, for two frames.
    tolerance, length = (1e-3, 6) if how.target is None else (2e-2, 3)
    for objective in (Objective(), Objective.pairs()):
        roll = jax.jit(lambda v, clip, o=objective: rollout(config, how, v, clip, o)[1])
        scanned = np.asarray(roll(variables, clip))
        state = tracker.init(variables, frames[0], labels)
        # Encoded together, the last bits differ, and on noise a network of random weights makes much of them in time.
        same = length if not objective.encode_together else 2
        for t, frame in enumerate(frames[1:same]):
            state, _, probability = tracker.step(variables, state, frame)
            np.testing.assert_allclose(probability, scanned[t, 0], atol=tolerance)
    assert scanned.max() > 0.1, "the comparison is of something"


def test_a_given_mask_is_exact_brings_objects_and_leaves_the_others(case, rng):
    config, how, variables = case
    frames, labels = video(rng, (64, 96), (4, 9))
    tracker = Tracker(config, how, (64, 96))
    given = np.zeros_like(labels)
    given[44:60, 10:40], given[4:10, 70:90] = 200, 9
    state = tracker.init(variables, frames[0], labels)
    state, *_ = tracker.step(variables, state, frames[1])
    # The same frame without a mask says where object 4 is, which the mask does not have.
    unaided = jax.tree.map(jnp.copy, state)
    _, expected, _ = tracker.step(variables, unaided, frames[2])
    state, label_map, probability = tracker.annotate(variables, state, frames[2], given)
    label_map, expected = np.asarray(label_map), np.asarray(expected)
    np.testing.assert_array_equal(label_map[given > 0], given[given > 0])
    assert not np.any(label_map[given == 0] == 9), "a corrected object is where its mask says, and nowhere else"
    assert not np.any(label_map[given == 0] == 200)
    np.testing.assert_array_equal((label_map == 4)[given == 0], (expected == 4)[given == 0])
    assert state.ids.tolist() == [4, 9, 200]
    assert state.ages.tolist() == [1, 2]
    np.testing.assert_array_equal(state.knowledge.memory.known[0], [[True, True, False], [False, True, True]])
    np.testing.assert_array_equal(probability[..., 2], given == 200)
    state, label_map, _ = tracker.step(variables, state, frames[3])
    assert set(np.unique(label_map)) <= {0, 4, 9, 200}


def test_room_made_at_once_and_room_made_later_are_the_same(case, rng):
    config, how, variables = case
    frames, labels = video(rng, (64, 96), (4,))
    given = np.zeros_like(labels)
    given[44:60, 10:40] = 7
    tracker = Tracker(config, how, (64, 96))
    at_once, _ = track(tracker, variables, frames, {0: labels, 2: given})
    state = tracker.init(variables, frames[0], labels)
    state, *_ = tracker.step(variables, state, frames[1])
    state, later, _ = tracker.annotate(variables, state, frames[2], given)
    # Padded objects change the order of sums: a pixel that was as good as undecided may turn.
    assert np.mean(np.asarray(later) != at_once[2]) < 0.02


def test_an_object_given_at_frame_k_is_tracked_as_from_a_video_that_starts_there(case, rng):
    """In `stream` frames before the first mask show nothing, so the tracker begins at frame k."""
    from ranet_jax.io.video import Frame
    from ranet_jax.runtime.stream import stream

    config, how, variables = case
    frames, labels = video(rng, (64, 96), (6,), count=5)
    tracker = Tracker(config, how, (64, 96))

    def tracked(frames, given):
        found = []
        pictures = (Frame(str(i), frame) for i, frame in enumerate(frames))
        stream(tracker, variables, pictures, given, lambda frame, labels: found.append(np.array(labels)))
        return found

    late, alone = tracked(frames, {2: labels}), tracked(frames[2:], {0: labels})
    assert not np.any(late[:2])
    np.testing.assert_array_equal(late[2:], alone)
    with pytest.raises(InputError, match="mask is given for frame 9 and the video has 5"):
        tracked(frames, {0: labels, 9: labels})


def test_further_references_compile_once_for_each_bucket(case, rng):
    config, how, variables = case
    size = (60, 90)
    frames, labels = video(rng, size, (1,), count=7)
    tracker = Tracker(config, how, size)
    before = compiled_steps()
    for count in (2, 3, 4, 2):
        _, state = track(tracker, variables, frames, {number: labels for number in range(count)})
        assert int(jnp.sum(state.ages > 0)) == count
    assert compiled_steps() - before == 2, "room for two, and room for four"


def test_one_compilation_for_each_size_and_bucket(case, rng):
    config, how, variables = case
    size = (72, 100)
    before = compiled_steps()
    for ids in ((1,), (7,), range(3, 12), range(1, 11)):
        frames, labels = video(rng, size, ids)
        tracker = Tracker(config, how, size)
        state = tracker.init(variables, frames[0], labels)
        for frame in frames[1:]:
            state, *_ = tracker.step(variables, state, frame)
    # Buckets of one and of ten: two programs, whatever the ids and however many trackers.
    assert compiled_steps() - before == 2


def test_a_step_reads_nothing_back_and_donates_its_state(case, rng):
    config, how, variables = case
    frames, labels = video(rng, (64, 96), (1,))
    tracker = Tracker(config, how, (64, 96))
    first = state = tracker.init(variables, frames[0], labels)
    # Virtual CPU devices share the host's memory, so reads are caught at their entry: nothing may become a NumPy array.
    with jax.transfer_guard_device_to_host("disallow"):
        state, _, _ = tracker.step(variables, state, jax.device_put(frames[1]))
    assert first.previous.is_deleted()
    assert not state.previous.is_deleted()


def test_vanished_objects_keep_running(case, rng):
    config, how, variables = case
    frames, labels = video(rng, (64, 96), (1, 2))
    tracker = Tracker(config, how, (64, 96))
    state = tracker.init(variables, frames[0], labels)
    state = state._replace(previous=jnp.zeros_like(state.previous))
    for frame in (np.zeros_like(frames[0]), frames[1]):
        state, _, probability = tracker.step(variables, state, frame)
        assert np.isfinite(np.asarray(probability)).all()


@pytest.mark.parametrize("name", ["lite", "mrnet and target"])
def test_a_frame_of_one_colour_shows_nothing_and_teaches_nothing(rng, name):
    config, how = CASES[name]
    variables = jax.device_put(initial_variables(config, seed=1))
    frames, labels = video(rng, (64, 96), (1, 2))
    tracker = Tracker(config, how, (64, 96))
    state = tracker.init(variables, frames[0], labels)
    state, *_ = tracker.step(variables, state, frames[1])
    known = jax.tree.map(np.asarray, (state.previous, state.box, state.knowledge.target.recent))
    for colour in (0, 255):
        state, label_map, probability = tracker.step(variables, state, np.full_like(frames[0], colour))
        assert not np.asarray(label_map).any()
        assert not np.asarray(probability).any()
        jax.tree.map(
            lambda a, b: np.testing.assert_array_equal(a, np.asarray(b)),
            known,
            (state.previous, state.box, state.knowledge.target.recent),
        )


def test_the_target_model_learns_where_the_configuration_says_so(rng):
    config, how = CASES["lite"]
    frames, labels = video(rng, (64, 96), (1,))
    labels[10:50, 20:80] = 1
    variables = jax.device_put(initial_variables(config, seed=1))
    for update in (False, True):
        target = Target(update=update, gain=40.0, least_cells=1)
        how = dataclasses.replace(how, target=target, presence=None)
        tracker = Tracker(config, how, (64, 96))
        state = tracker.init(variables, frames[0], labels)
        before = np.asarray(state.knowledge.target.solution)
        state, label_map, _ = tracker.step(variables, state, frames[0])
        assert np.asarray(label_map).any()
        assert (np.abs(np.asarray(state.knowledge.target.solution) - before).max() > 0) == update


def test_wrong_inputs_are_named():
    config, how = CASES["lite"]
    tracker = Tracker(config, how, (48, 80))
    frame, labels = np.zeros((48, 80, 3), np.uint8), np.zeros((48, 80), np.uint8)
    for size in ([48, 80], (48,), (48, 0), (48.0, 80)):
        with pytest.raises(InputError, match=r"a frame size is a tuple \(height, width\) of pixels, and this is "):
            check_frame_size(size)
    with pytest.raises(InputError, match="mask is empty"):
        tracker.init({}, frame, labels)
    with pytest.raises(InputError, match="mask is 81x48 pixels and the video 80x48"):
        tracker.init({}, frame, np.zeros((48, 81), np.uint8))
    labels.reshape(-1)[:200] = np.arange(200)
    with pytest.raises(InputError, match="199 objects and 16 is the most"):
        tracker.init({}, frame, labels)
    labels[:] = 3
    with pytest.raises(InputError, match="17 objects and 16 is the most"):
        tracker.init({}, frame, labels, objects=range(10, 26))
    with pytest.raises(InputError, match="the network reads 1 hint"):
        Tracker(config, TrackerConfig(), (48, 80)).init({}, frame, labels)
    stem = MRNetConfig.lite(**SMALL_MRNET, mask_input="stem")
    with pytest.raises(InputError, match="a target model needs features of the image alone"):
        Tracker(stem, dataclasses.replace(SOFT, target=Target()), (48, 80)).init(initial_variables(stem), frame, labels)


def test_a_reference_goes_where_it_is_missed_least():
    age = lambda *values: jnp.asarray(values, jnp.int32)
    known = jnp.asarray([[True, True], [True, False], [False, True], [False, False]])
    assert int(place_for(known, age(1, 2, 3, 0))) == 3, "an empty place"
    assert int(place_for(known[:3], age(1, 2, 3))) == 0, "all of it is given by newer ones"
    only = jnp.eye(4, dtype=bool)
    assert int(place_for(only, age(1, 2, 3, 4))) == 1, "the oldest but the first"
    np.testing.assert_array_equal(orphans(only, jnp.asarray(1)), [False, True, False, False])
    np.testing.assert_array_equal(orphans(known[:3], jnp.asarray(0)), [False, False])
    assert [reference_bucket(n) for n in (1, 2, 3, 5, 8, 30)] == [1, 2, 4, 8, 8, 8]


def test_more_references_than_there_is_room_for(rng):
    """Nine masks of nine objects, each alone: the first ones go on without their reference."""
    config, how = CASES["lite"]
    variables = jax.device_put(initial_variables(config, seed=1))
    frames, _ = video(rng, (64, 96), (1,), count=11)
    tracker, given = Tracker(config, how, (64, 96)), {}
    for i in range(10):
        given[i] = np.zeros((64, 96), np.uint8)
        given[i][4 * i : 4 * i + 12, 8 * i : 8 * i + 16] = i + 1
    found, state = track(tracker, variables, frames, given)
    assert sorted(state.ages.tolist()) == sorted([1, *range(4, 11)])
    assert all((found[i][given[i] > 0] == i + 1).all() for i in given)


def test_davis_frames_are_padded_and_others_fitted():
    size = (480, 864)
    assert Letterbox.of((480, 854), size) == Letterbox((480, 854), size, (0, 5))
    assert Letterbox.of((480, 910), size).scaled == (456, 864)
    assert Letterbox.of((1080, 1920), size).scaled == (480, 853)
    assert Letterbox.of((240, 320), size).scaled == (480, 640)
    assert AspectBox().letterbox((1080, 1920), size).size == (1080, 1920)


def test_upright_video_gets_an_upright_window(rng):
    config, how = CASES["lite"]
    variables = jax.device_put(initial_variables(config, seed=1))
    assert how.window.input_size((96, 64), (64, 96)) == (96, 64)
    assert how.window.input_size((64, 64), (64, 96)) == (64, 96)
    frames, labels = video(rng, (96, 64), (2,))
    tracker = Tracker(config, how, (96, 64))
    state = tracker.init(variables, frames[0], labels)
    top, left, bottom, right = np.asarray(state.box)
    assert np.isclose((bottom - top) / (right - left), 96 / 64)
    state, label_map, _ = tracker.step(variables, state, frames[1])
    assert label_map.shape == (96, 64)


def test_a_configuration_survives_json():
    for _, how in CASES.values():
        assert TrackerConfig.from_dict(how.to_dict()) == how
    with pytest.raises(InputError, match="tracker has no field boxes"):
        TrackerConfig.from_dict({"boxes": 1})
    with pytest.raises(InputError, match=r"window\.kind is 'Box'"):
        TrackerConfig.from_dict({"window": {"kind": "Box"}})
    with pytest.raises(InputError, match="aggregation is 'firm': choose one of 'hard', 'soft'"):
        TrackerConfig(aggregation="firm")
