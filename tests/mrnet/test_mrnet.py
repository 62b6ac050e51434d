"""MRNet's contract: every variant, the mask's entry, the ring buffer, aggregation, padded and vanished objects."""

import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.backbones import backbone, mask_stem
from ranet_jax.errors import InputError
from ranet_jax.mrnet.decoder import Encoded
from ranet_jax.mrnet.mask_ranking import candidate_frames
from ranet_jax.networks import MRNet, MRNetConfig, RANetConfig, config_from_dict, network
from ranet_jax.tracker import TrackerConfig
from ranet_jax.tracker.aggregation import aggregate
from ranet_jax.weights import expected_variables, initial_variables, load_checkpoint, save_checkpoint

MICRO = MRNetConfig(backbone="resnet_micro", input_size=(64, 96), decoder_features=(8, 8, 8, 8))
LITE = MRNetConfig.lite(backbone="resnet_micro", input_size=(64, 96), decoder_features=(8, 8, 8, 8))
VARIANTS = {
    "paper": MICRO,
    "lite": LITE,
    "baseline": dataclasses.replace(LITE, mask_ranking=False),
    "mask only": dataclasses.replace(MICRO, similarity_map=False),
    "frame 0 only": dataclasses.replace(LITE, candidates=0),
    "coarse": dataclasses.replace(MICRO, decoder_features=(8,), decoder_blocks=2, backbone_norm="instance"),
    "stem at 1/16": dataclasses.replace(LITE, mask_input="stem"),
    "bfloat16": dataclasses.replace(LITE, dtype="bfloat16"),
}


def inputs(rng, objects=2):
    image = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32)
    masks = np.zeros((1, 64, 96, objects), np.float32)
    for i in range(objects):
        masks[0, 10 + 5 * i : 40, 10 + 25 * i : 30 + 25 * i, i] = 1
    return image, jnp.asarray(masks)


def applying(config, variables):
    """A method of the network, by name, with its weights."""
    return lambda method, *arguments: MRNet(config).apply(variables, *arguments, method=method)


def propagate(config, variables, memory, image, previous):
    """Memory after the next frame, its encoding, logits and what was found; its masks are each object's by itself."""
    apply = applying(config, variables)
    seen = apply("encode", image, previous)
    logits, found = apply("read", memory, seen, previous)
    probability = jax.nn.sigmoid(logits) * memory.valid[:, None, None].astype(jnp.float32)
    return apply("write_recent", memory, seen, probability), probability, seen, logits, found


@functools.cache
def programs(config):
    """Memory after the first frame, and `propagate`."""

    def start(variables, image, masks):
        apply = applying(config, variables)
        return apply("remember", apply("encode", image, masks), masks)

    return jax.jit(start), jax.jit(functools.partial(propagate, config))


@pytest.mark.parametrize(("config", "mask_stems"), [(MICRO, 1), (LITE, 0)], ids=["stem", "decoder"])
def test_a_step_encodes_its_frame_once_whatever_it_is_compared_with(config, mask_stems):
    """The stem's convolutions in the program: one over the image, at most one over all objects' masks."""
    start, step = programs(config)
    variables = expected_variables(config)
    array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    image, masks = array(1, 64, 96, 3), array(1, 64, 96, 2)
    program = step.lower(variables, jax.eval_shape(start, variables, image, masks), image, masks).as_text()
    stems = re.findall(r"stablehlo\.convolution.*tensor<7x7x(\d)x", program)
    assert sorted(stems) == ["1"] * mask_stems + ["3"]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_steps_with_the_contract_s_shapes(rng, name):
    config = VARIANTS[name]
    image, masks = inputs(rng)
    start, step = programs(config)
    variables = initial_variables(config)
    memory = start(variables, image, masks)
    after, probability, seen, logits, found = step(variables, memory, image, masks)
    describe = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert describe(after) == describe(memory), "the state never changes its shape"
    assert logits.shape == probability.shape == (1, 64, 96, 2)
    assert logits.dtype == jnp.float32
    assert np.isfinite(np.asarray(logits)).all()
    h, w = config.grid
    m = 2 if config.mask_input == "stem" else 1
    assert memory.reference_features.shape[:5] == (1, 1, m, h, w)
    assert memory.features.shape[0] == config.history
    assert int(memory.time) == 1
    # Where the encoder sees the image alone, a target model can be fitted to its features.
    assert [x.shape[1] for x in seen.maps] == ([] if config.mask_input == "stem" else [32, 16, 8, 4, 2])
    assert config.encodes_image_alone == bool(seen.maps)
    if config.mask_ranking:
        s = config.candidates + 1
        assert found["selected"].similarity.shape == found["selected"].mask.shape == (1, 2, h, w)
        assert found["selected"].score.shape == (1, 2, s)
        np.testing.assert_array_equal(found["selected"].frame, 0)
    else:
        assert "selected" not in found


def test_the_paper_s_network_compares_2048_channels_at_a_thirty_second():
    config = MRNetConfig()
    shape = jax.ShapeDtypeStruct((1, *config.input_size, 3), jnp.float32)
    masks = jax.ShapeDtypeStruct((1, *config.input_size, 1), jnp.float32)
    memory = jax.eval_shape(programs(config)[0], expected_variables(config), shape, masks)
    assert memory.reference_features.shape == (1, 1, 1, 15, 27, 2048)
    assert memory.features.shape == (20, 1, 1, 15, 27, 2048)
    assert config.grid == (15, 27)
    decoder = expected_variables(config)["params"]["decoder"]
    assert decoder["start"]["kernel"].shape == (3, 3, 4098, 256)


@pytest.mark.parametrize("name", ["resnet_micro", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)])
def test_a_fourth_channel_of_zero_leaves_the_features_of_three_for_any_mask(rng, name):
    """And one that is not zero gives what the convolution over image and mask gives."""
    encoder = backbone(name, norm="batch")
    stem = mask_stem(encoder)
    image = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32)
    mask = jnp.asarray(rng.uniform(size=(1, 64, 96, 1)), jnp.float32)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.concatenate([image, mask], axis=-1))
    variables = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.01 + 0.1, jnp.float32), shapes)
    params = variables["params"]
    whole = params["stem"] if name == "efficientnet_lite0" else params["stem"]["kernel"]
    wrap = lambda kernel: kernel if name == "efficientnet_lite0" else {"kernel": kernel}
    three = {**variables, "params": {**params, "stem": wrap(whole[:, :, :3])}}
    added = {"params": {"kernel": whole[:, :, 3:]}}
    zero = jax.jit(stem.init)(jax.random.key(1), mask)
    assert jax.tree.map(jnp.shape, zero) == jax.tree.map(jnp.shape, added)
    apply = jax.jit(lambda v, image: encoder.apply(v, image))
    apart = jax.jit(lambda v, kernel: encoder.apply(v, image, stem.apply(kernel, mask)))
    for with_zero, without in zip(apart(three, zero), apply(three, image), strict=True):
        np.testing.assert_array_equal(with_zero, without)
    for sum_of_two, joined in zip(
        apart(three, added), apply(variables, jnp.concatenate([image, mask], -1)), strict=True
    ):
        np.testing.assert_allclose(sum_of_two, joined, atol=1e-4 * float(jnp.max(jnp.abs(joined))))


def test_the_ring_holds_what_table_1_asks_for(rng):
    """Frame s marks its own features by its mask's height: what is compared is what the schedule names."""
    config = dataclasses.replace(LITE, candidates=2, interval=2)
    image, masks = inputs(rng, objects=1)
    memory = programs(config)[0](initial_variables(config), image, masks)
    seen = Encoded((), memory.reference_features[0], ())
    write = jax.jit(lambda m, seen, p: MRNet(config).apply({}, m, seen, p, method="write_recent"))
    for time in range(1, 12):
        frames, exists = candidate_frames(memory.time, 2, 2)
        for frame, there in zip(frames[1:].tolist(), exists[1:].tolist(), strict=True):
            if there:
                slot = frame % 4
                np.testing.assert_allclose(memory.features[slot], frame)
                np.testing.assert_allclose(memory.masks[slot, 0, 0].sum(), frame, rtol=1e-5)
        # As many full cells of 16 x 16 pixels as the frame's number.
        probability = np.zeros((4, 6, 16, 16), np.float32)
        probability.reshape(24, 16, 16)[:time] = 1
        probability = probability.transpose(0, 2, 1, 3).reshape(1, 64, 96, 1)
        seen = seen._replace(feature=jnp.full(seen.feature.shape, time, jnp.float32))
        memory = write(memory, seen, jnp.asarray(probability))
    assert int(memory.time) == 12


def test_the_chosen_frame_is_among_table_1_s_over_thirty_frames(rng):
    config = dataclasses.replace(LITE, candidates=3, interval=2)
    start, step = programs(config)
    variables = initial_variables(config, seed=1)
    image, masks = inputs(rng, objects=2)
    memory, previous = start(variables, image, masks), masks
    for time in range(1, 31):
        frame = jnp.asarray(rng.normal(size=image.shape), jnp.float32)
        frames, exists = candidate_frames(jnp.asarray(time, jnp.int32), 3, 2)
        memory, previous, _, _, found = step(variables, memory, frame, previous)
        allowed = set(np.asarray(frames)[np.asarray(exists)].tolist())
        assert set(np.asarray(found["selected"].frame).ravel().tolist()) <= allowed
    assert step._cache_size() == 1


def test_a_shorter_clip_needs_a_shorter_ring_and_gives_the_same(rng):
    config = dataclasses.replace(LITE, candidates=4, interval=2)
    variables = jax.device_put(initial_variables(config))
    image, masks = inputs(rng)

    @functools.partial(jax.jit, static_argnums=0)
    def start(frames):
        apply = applying(config, variables)
        return apply("remember", apply("encode", image, masks), masks, frames)

    images = [jnp.asarray(rng.normal(size=image.shape), jnp.float32) for _ in range(5)]
    results = []
    for frames in (None, 5):
        memory, previous = start(frames), masks
        for frame in images:
            memory, previous, _, logits, _ = programs(config)[1](variables, memory, frame, previous)
        results.append((memory.features.shape[0], logits))
    assert [slots for slots, _ in results] == [8, 4]
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-5)


@pytest.mark.parametrize("config", [MICRO, LITE], ids=["stem", "decoder"])
def test_padded_objects_change_nothing(rng, config):
    image, masks = inputs(rng)
    start, step = programs(config)
    variables = initial_variables(config)
    padded = jnp.concatenate([masks, jnp.zeros_like(masks)], axis=-1)
    (_, two, _, logits, _), (after, four, _, padded_logits, _) = (
        step(variables, start(variables, image, m), image[:, ::-1], m) for m in (masks, padded)
    )
    np.testing.assert_allclose(padded_logits[..., :2], logits, atol=1e-4)
    np.testing.assert_array_equal(after.valid, [[True, True, False, False]])
    np.testing.assert_array_equal(after.known, [[[True, True, False, False]]])
    np.testing.assert_array_equal(after.masks[..., 2:, :, :], 0)
    np.testing.assert_array_equal(four[..., 2:], 0)
    np.testing.assert_allclose(four[..., :2], two, atol=1e-5)


def test_an_object_that_no_pixel_shows_is_remembered_as_empty_and_frame_0_is_chosen(rng):
    config = dataclasses.replace(LITE, candidates=2, interval=1)
    start, step = programs(config)
    variables = initial_variables(config)
    # A logit far below zero everywhere: nothing is ever segmented.
    variables["params"]["decoder"]["logit"]["convolution"]["bias"][:] = -40
    image, masks = inputs(rng)
    memory, previous = start(variables, image, masks), masks
    for _ in range(4):
        memory, previous, _, logits, found = step(variables, memory, image, previous)
        assert np.isfinite(np.asarray(logits)).all()
        np.testing.assert_array_equal(found["selected"].frame, 0)
    np.testing.assert_array_equal(memory.masks, 0)


def test_how_sure_an_object_s_presence_must_be_is_a_field(rng):
    """The ring has no mask of an object whose best pixel is below it."""
    image, masks = inputs(rng)
    for present, shown in ((0.5, False), (0.3, True)):
        config = dataclasses.replace(LITE, present=present, candidates=1, interval=1)
        memory = programs(config)[0](initial_variables(config), image, masks)
        seen = Encoded((), memory.reference_features[0], ())
        memory = MRNet(config).apply({}, memory, seen, 0.4 * masks, method="write_recent")
        assert bool(jnp.any(memory.masks > 0)) == shown


def references(rng, config, known):
    """Memory of three frames, all of them references, and their encodings; what each gives of two objects."""
    image, masks = inputs(rng)
    images = [image, image[:, ::-1], image[:, :, ::-1]]

    @jax.jit
    def remember(variables, images, masks):
        apply = applying(config, variables)
        seen = [apply("encode", image, masks) for image in images]
        memory = apply("empty", seen[0], 2, 3)
        for slot, (one, given) in enumerate(zip(seen, known, strict=True)):
            memory = apply("write_recent", memory, one, masks)
            memory = apply("write_reference", memory, one, masks * 0.5**slot, jnp.asarray([given]), slot)
        return memory, seen

    return remember(initial_variables(config), images, masks)


@pytest.mark.parametrize("config", [MICRO, LITE], ids=["stem", "decoder"])
def test_the_newest_reference_that_gives_an_object_is_its_home(rng, config):
    memory, seen = references(rng, config, [(True, True), (False, True), (False, True)])
    np.testing.assert_array_equal(memory.reference_frames, [0, 1, 2])
    np.testing.assert_array_equal(memory.known[0], [[True, True], [False, True], [False, True]])
    assert int(memory.time) == 3
    feature, mask = MRNet(config).apply({}, memory, method="home")
    assert mask.shape == (1, 2, *config.grid)
    for i, reference in enumerate((0, 2)):
        own = i if config.mask_input == "stem" else 0
        np.testing.assert_array_equal(feature[:, i], seen[reference].feature[:, own])
        np.testing.assert_allclose(mask[:, i], memory.reference_masks[reference][:, i])
    # A reference in a slot that was taken is the newest all the same.
    memory = memory._replace(reference_frames=jnp.asarray([7, 5, 6], jnp.int32), known=jnp.ones((1, 3, 2), bool))
    _, mask = MRNet(config).apply({}, memory, method="home")
    np.testing.assert_allclose(mask, memory.reference_masks[0])


@pytest.mark.parametrize("config", [MICRO, LITE], ids=["stem", "decoder"])
def test_references_are_candidates_of_the_objects_that_they_give(rng, config):
    """A frame that is one of them again: the objects that it gives choose it, the others what they have."""
    memory, seen = references(rng, config, [(True, True), (True, False), (False, True)])
    select = jax.jit(lambda m, f: MRNet(config).apply({}, m, f, method="select"))
    for number, expected in ((1, [1, None]), (2, [None, 2])):
        selected = select(memory, seen[number].feature)
        s = 3 + config.candidates
        assert selected.score.shape == (1, 2, s)
        np.testing.assert_array_equal(selected.eligible[0, :, :3], [[True, True, False], [True, False, True]])
        assert not np.any(selected.eligible[0, :, 3:]), "no frame is five old"
        for i, frame in enumerate(expected):
            if frame is not None:
                assert int(selected.frame[0, i]) == frame
                assert float(selected.score[0, i, frame]) == pytest.approx(1, abs=1e-4)
        mask = memory.reference_masks[number][:, expected.index(number)]
        np.testing.assert_allclose(selected.mask[:, expected.index(number)], mask, atol=1e-6)


def test_with_references_of_takes_theirs_and_keeps_all_else(rng):
    memory, _ = references(rng, LITE, [(True, True), (True, False), (False, True)])
    other = jax.tree.map(jnp.zeros_like, memory)
    joined = memory.with_references_of(other)
    assert not np.any(joined.reference_features)
    assert not np.any(joined.reference_masks)
    for name in ("reference_frames", "known", "features", "masks", "time"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(memory, name))


@pytest.mark.parametrize("hints", [1, 2])
def test_hints_are_read_at_the_grid_s_size(rng, hints):
    config = dataclasses.replace(LITE, hints=hints)
    variables = initial_variables(config)
    image, masks = inputs(rng)

    @jax.jit
    def run(variables, given):
        apply = applying(config, variables)
        seen = apply("encode", image, masks)
        return apply("read", apply("remember", seen, masks), seen, masks, given)[0]

    plain = jnp.asarray(rng.normal(size=(1, 2, 8, 12, hints)), jnp.float32)
    # What is the same in every cell of 2 x 2 is the same on the grid of 1/16; the second object's is changed alone.
    mean = plain.reshape(1, 2, 4, 2, 6, 2, hints).mean(axis=(3, 5), keepdims=True)
    smooth = jnp.broadcast_to(mean, (1, 2, 4, 2, 6, 2, hints)).reshape(plain.shape)
    logits = run(variables, plain)
    np.testing.assert_allclose(run(variables, smooth), logits, atol=1e-4)
    changed = np.abs(np.asarray(run(variables, plain.at[:, 1].add(1.0))) - np.asarray(logits)).max(axis=(0, 1, 2))
    assert changed[0] == pytest.approx(0, abs=1e-5)
    assert changed[1] > 1e-3


def test_the_mask_enters_where_the_config_says(rng):
    image, masks = inputs(rng, objects=1)
    for config, features_change in ((MICRO, True), (LITE, False)):
        variables = initial_variables(config)
        if "mask_stem" in variables["params"]:
            kernel = variables["params"]["mask_stem"]["kernel"]
            assert not kernel.any(), "the mask's channel starts at zero"
            kernel[:] = rng.normal(size=kernel.shape)
        start, step = programs(config)
        memory = start(variables, image, masks)
        (_, _, seen, one, _), (_, _, other_seen, other, _) = (
            step(variables, memory, image, previous) for previous in (masks, 1 - masks)
        )
        assert float(jnp.max(jnp.abs(one - other))) > 1e-3
        difference = jnp.max(jnp.abs(seen.feature - other_seen.feature))
        assert (float(difference) > 1e-3) == features_change


def test_soft_aggregation_normalises_odds_with_the_background():
    probability = np.array([[0.9, 0.2], [0.3, 0.4], [1e-4, 1e-5]])
    logits = jnp.asarray(np.log(probability / (1 - probability)), jnp.float32)
    background = np.prod(1 - probability, axis=-1, keepdims=True)
    joined = np.concatenate([background, probability], axis=-1)
    odds = joined / (1 - joined)
    expected = (odds / odds.sum(-1, keepdims=True))[:, 1:]
    found = jax.nn.sigmoid(aggregate(logits, jnp.ones(2, bool)))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_soft_aggregation_is_finite_with_gradients_at_the_extremes():
    logits = jnp.asarray([[60.0, -60.0], [-60.0, -60.0], [60.0, 60.0], [0.0, 0.0], [-200.0, 200.0]])
    for valid in ([True, True], [True, False]):
        valid = jnp.asarray(valid)
        value, gradient = jax.value_and_grad(lambda x, v=valid: jnp.sum(jax.nn.sigmoid(aggregate(x, v))))(logits)
        assert np.isfinite(value)
        assert np.isfinite(np.asarray(gradient)).all()
        assert np.isfinite(np.asarray(aggregate(logits, valid))).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": -1}, "candidates is -1: it must be at least 0"),
        ({"interval": 0}, "interval is 0: it must be at least 1"),
        ({"decoder_features": ()}, "decoder_features"),
        ({"decoder_features": (8,) * 6}, "1 to 5 positive"),
        ({"mask_input": "nowhere"}, "choose one of 'stem', 'decoder'"),
        ({"input_size": (480, 854)}, "480x854"),
    ],
)
def test_wrong_config_values_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        MRNetConfig(**changes)


def test_configs_survive_json_and_name_their_network():
    for config in (MRNetConfig(), MRNetConfig.lite(candidates=2), RANetConfig.lite()):
        values = json.loads(json.dumps(config.to_dict()))
        assert config_from_dict(config.NETWORK, values) == config
        assert type(network(config)).__name__ == config.TITLE
    with pytest.raises(InputError, match="MRNet's config has no field k: it has backbone"):
        MRNetConfig.from_dict({"k": 4})
    with pytest.raises(InputError, match="no network is called 'stm': choose one of mrnet, ranet"):
        config_from_dict("stm", {})


def test_a_checkpoint_says_which_network_it_is_of(tmp_path):
    variables = initial_variables(LITE)
    save_checkpoint(tmp_path / "net", LITE, TrackerConfig.mrnet(), variables)
    loaded = load_checkpoint(tmp_path / "net")
    assert loaded.config == LITE
    assert loaded.tracker == TrackerConfig.mrnet()
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
