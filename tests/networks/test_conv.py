"""The network for images."""

import math
import pickle

import numpy as np
import pytest
import torch
from helpers import SMALL_MIXTURE, draw, each_once, fit_unwarned, generator, outputs, quick_sae
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skvaeense
from skvaeense import VAEenseTransformer
from skvaeense.models import VAE
from skvaeense.networks import Conv
from skvaeense.networks._base import build_network
from skvaeense.networks._conv import Enlarge, ToImage, ToRow
from skvaeense.penalties import TopK

SHAPES = [(1, 1), (1, 9), (2, 2), (5, 7), (8, 8), (9, 4, 3), (7, 7, 1), (3, 17, 2), (13, 6, 5)]
DECODERS = pytest.mark.parametrize("decoder", ["linear", "conv"])


def build(network, n_components=3, n_heads=2, seed=0):
    n_features = math.prod(network.image_shape)
    return network.build(n_features, n_components, n_heads=n_heads, generator=generator(seed))


def draw_images(*shape):
    return draw(*shape, seed=9, dtype=torch.float32)


def as_model(network):
    """Return a module in double precision."""
    n_features = math.prod(network.image_shape)
    return VAE(network, n_features, 3, generator=generator()).double()


def convolutions(module):
    return [p for p in module.parameters() if p.ndim == 4]


def squares(n_samples=400, side=12, seed=0):
    """Return images of a square of 4 by 4 pixels, anywhere, with one of two brightnesses."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n_samples, side, side))
    for image, (top, left) in zip(images, rng.integers(0, side - 3, (n_samples, 2)), strict=True):
        image[top : top + 4, left : left + 4] = rng.choice([1.0, 2.0])
    return images.reshape(n_samples, -1)


def quick_vae(**params):
    settings = {"n_components": 8, "n_init": 1, "max_iter": 2, "random_state": 0}
    settings |= {"prior": SMALL_MIXTURE}
    return VAEenseTransformer(**(settings | params))


# --- shapes -----------------------------------------------------------------------------------


@DECODERS
def test_shapes(decoder, subtests):
    for shape, channels in each_once(SHAPES, ["auto", (2,), (3, 2, 4), (2,)]):
        with subtests.test(shape=shape, channels=channels):
            module = build(Conv(shape, channels, decoder=decoder), n_heads=3)
            x = draw_images(4, math.prod(shape))
            heads = module.encode(x)
            assert [tuple(head.shape) for head in heads] == [(4, 3)] * 3
            assert module.decode(heads[0]).shape == x.shape
            assert module.decode(heads[0][0]).shape == x[0].shape
            model = as_model(Conv(shape, channels, decoder=decoder))
            assert (model.linear_decoder is None) == (decoder == "conv")
            assert model.code_scale().shape == (3,)
            assert (model.code_scale() > 0).all()


@DECODERS
def test_kernel_sizes(decoder, subtests):
    for kernel_size in (1, 9):
        with subtests.test(kernel_size=kernel_size):
            module = build(Conv((5, 6), (2, 3), kernel_size=kernel_size, decoder=decoder))
            sizes = {p.shape[2:] for p in module.parameters() if p.ndim == 4}
            assert sizes == {(kernel_size, kernel_size)}
            assert module.decode(module.encode(draw_images(4, 30))[0]).shape == (4, 30)


def test_default_channels(subtests):
    """By default, convolutions are added until no side is longer than 8."""
    for shape, channels in (
        ((8, 8), [8]),
        ((16, 9), [8]),
        ((17, 3), [8, 16]),
        ((65, 65, 3), [8, 16, 32, 32]),
    ):
        with subtests.test(shape=shape, channels=channels):
            layers = [p for p in build(Conv(shape)).encoder.parameters() if p.ndim == 4]
            assert [len(weight) for weight in layers] == channels
            assert layers[0].shape[1] == (*shape, 1)[2]


@pytest.mark.parametrize(
    ("sizes", "n_inputs"), [((), 7 * 7 * 16), ("auto", 256), ((20, 10), 10)], ids=str
)
def test_hidden_layers(sizes, n_inputs):
    heads = build(Conv((28, 28), hidden_layer_sizes=sizes)).encoder[-1]
    assert heads.in_features == n_inputs


# --- layout -----------------------------------------------------------------------------------


def test_pixels_go_where_they_belong():
    """Rows are images in C order with channels last, while torch has channels first."""
    x = torch.arange(2 * 3 * 5 * 4.0).reshape(2, 60)
    images = ToImage((3, 5, 4))(x)
    assert images.shape == (2, 4, 3, 5)
    for i, j, channel in np.ndindex(3, 5, 4):
        assert torch.equal(images[:, channel, i, j], x[:, (i * 5 + j) * 4 + channel])
    assert torch.equal(ToRow()(images), x)
    assert torch.equal(ToImage((3, 5, 4))(x[1]), images[1])
    # The images are a view of the rows, without a copy.
    assert images.data_ptr() == x.data_ptr()
    assert images.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_a_window_sees_its_neighbourhood_in_all_channels():
    module = build(Conv((6, 9, 2), (3,)))
    first = module.encoder[:2]
    x, y = torch.zeros(1, 6, 9, 2), torch.zeros(1, 6, 9, 2)
    for channel in range(2):
        # The windows of 3 by 3 pixels with the centres (2, 4) and (2, 6) share the column 5.
        y[:] = 0
        y[0, 2, 5, channel] = 1
        moved = (first(y.reshape(1, -1)) - first(x.reshape(1, -1))).abs().sum(dim=(0, 1)) > 0
        assert moved.nonzero().tolist() == [[1, 2], [1, 3]]


def test_enlarged_pixels_are_squares():
    x = torch.arange(2 * 18 * 2 * 3.0).reshape(2, 18, 2, 3)
    large = Enlarge(3, (5, 8))(x)
    assert large.shape == (2, 2, 5, 8)
    for channel, i, j in np.ndindex(2, 5, 8):
        source = x[:, channel * 9 + (i % 3) * 3 + j % 3, i // 3, j // 3]
        assert torch.equal(large[:, channel, i, j], source)


@torch.no_grad()
def test_convolutional_decoder_is_local():
    """A pixel of the hidden layer changes only output pixels around its own place."""
    module = build(Conv((12, 20), (2, 3), decoder="conv"))
    to_pixels = module.decoder[2:]
    hidden = torch.zeros(2, 3, 5, 3)
    hidden[1, 1, 3] = 1
    without, with_it = to_pixels(hidden.reshape(2, -1)).reshape(2, 12, 20)
    rows, columns = ((with_it - without) != 0).nonzero(as_tuple=True)
    # It changes three by three hidden pixels, each a square of 4 by 4; the image ends at row 12.
    assert rows.unique().tolist() == list(range(12))
    assert columns.unique().tolist() == list(range(8, 20))


@DECODERS
@torch.no_grad()
def test_features_move_with_the_image(decoder):
    module = build(Conv((20, 24, 2), (3, 4), decoder=decoder))
    layers = module.encoder[:5]
    images = torch.zeros(2, 20, 24, 2)
    patch = draw_images(4, 5, 2)
    images[0, 8:12, 8:13] = patch
    # After two convolutions of stride 2, one pixel stands for four pixels of the image.
    images[1, 12:16, 4:9] = patch
    first, second = layers(images.reshape(2, -1))
    assert first.shape == (4, 5, 6)
    # Windows at the border see padding, and differ from windows inside.
    moved = first.roll((1, -1), dims=(1, 2))[:, 2:-1, 1:-2]
    torch.testing.assert_close(second[:, 2:-1, 1:-2], moved)
    assert first.std(dim=(1, 2)).min() > 1e-3
    assert not torch.allclose(first[:, 2:-1, 1:-2], second[:, 2:-1, 1:-2], atol=1e-3)


@torch.no_grad()
def test_both_ways_are_nonlinear():
    module = build(Conv((8, 8), hidden_layer_sizes=(), decoder="conv"))
    for function, n in ((lambda x: module.encode(x)[1], 64), (module.decode, 3)):
        x = draw_images(4, n)
        origin = function(torch.zeros(1, n))
        assert not torch.allclose(function(2 * x) - origin, 2 * (function(x) - origin), rtol=0.01)


# --- weights ----------------------------------------------------------------------------------


@DECODERS
def test_gradients_reach_every_parameter(decoder):
    module = build(Conv((9, 7, 3), (3, 2), decoder=decoder))
    mean, opening = module.encode(draw_images(6, 189))
    module.decode(mean * torch.sigmoid(opening)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert torch.count_nonzero(parameter.grad) > 0.5 * parameter.numel(), name


@DECODERS
def test_weights_come_from_the_generator(decoder):
    network = Conv((5, 7), decoder=decoder)
    before = torch.random.get_rng_state()
    one, two, other = (build(network, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name, value in one.items():
        assert torch.equal(value, other[name]) == name.endswith("bias"), name


def test_weights_start_by_the_inputs_of_their_windows():
    module = build(Conv((16, 16, 2), (50, 40), kernel_size=5, decoder="conv"))
    layers = convolutions(module)
    for weight, n_inputs in zip(layers, (2 * 25, 50 * 25, 40 * 25), strict=True):
        assert weight.shape[1:].numel() == n_inputs
        bound = 1 / math.sqrt(n_inputs)
        assert 0.98 * bound < weight.abs().max() <= bound


@DECODERS
@torch.no_grad()
def test_samples_pass_one_by_one(decoder):
    module, x = build(Conv((9, 7, 3), decoder=decoder)), draw_images(6, 189)
    for together, alone in zip(module.encode(x), module.encode(x[2:3]), strict=True):
        torch.testing.assert_close(together[2:3], alone)
    code = draw_images(6, 3)
    torch.testing.assert_close(module.decode(code)[4], module.decode(code[4]))


@DECODERS
@torch.no_grad()
def test_double_precision(decoder):
    single = build(Conv((9, 7, 3), decoder=decoder))
    double, x = pickle.loads(pickle.dumps(single)).double(), draw(5, 189)
    for a, b in zip(single.encode(x.float()), double.encode(x), strict=True):
        assert b.dtype == torch.float64
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)
    code = draw(5, 3)
    assert double.decode(code).dtype == torch.float64
    torch.testing.assert_close(
        single.decode(code.float()).double(), double.decode(code), rtol=1e-4, atol=1e-5
    )


def test_code_scale_is_the_norm_of_the_change_of_the_image():
    model = as_model(Conv((9, 7), decoder="conv"))
    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    change = (model.decode(step) - model.decode(-step)) / 2e-6
    torch.testing.assert_close(model.code_scale(), change.norm(dim=1), rtol=1e-6, atol=1e-9)


@torch.no_grad()
def test_skip_is_added_to_each_head_or_to_the_first(subtests):
    """Without the last layer only the shortcuts remain, which are linear, and 0 at the mean."""
    for skip, n_shortcuts in ((True, 2), ("first", 1), (False, 0)):
        with subtests.test(skip=skip, n_shortcuts=n_shortcuts):
            module, x = build(Conv((5, 7), skip=skip)), draw_images(4, 35)
            module.encoder[-1].weight.zero_()
            for i, output in enumerate(module.encode(x)):
                assert output.any() == (i < n_shortcuts)
                torch.testing.assert_close(module.encode(3 * x)[i], 3 * output)
                assert not module.encode(0 * x)[i].any()


# --- what cannot be ---------------------------------------------------------------------------


def test_parameters_of_a_wrong_kind(subtests):
    for network, message in (
        (Conv((64,)), "image_shape must be .*height, width"),
        (Conv((2, 2, 2, 8)), "image_shape must be .*height, width"),
        (Conv((8.0, 8)), r"got \(8.0, 8\)"),
        (Conv((0, 8)), r"got \(0, 8\)"),
        (Conv("88"), "image_shape must be .* got '88'"),
        (Conv((8, 8), ()), r"channels must name at least one convolution, got \(\)"),
        (Conv((8, 8), (4, 0)), "channels must be 'auto' or positive integers"),
        (Conv((8, 8), kernel_size=4), "kernel_size must be an odd positive integer, got 4"),
        (Conv((8, 8), kernel_size=-1), "kernel_size must be an odd positive integer"),
        (Conv((8, 8), hidden_layer_sizes=(0,)), "hidden_layer_sizes must be 'auto' or"),
    ):
        config = {"network": network, "n_features": 64, "n_components": 3}
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            build_network(config, n_heads=2, generator=torch.Generator())


@pytest.mark.parametrize(("make", "shape"), [(quick_vae, (6, 7)), (quick_sae, (2, 7, 3))])
def test_features_that_are_no_such_images(make, shape):
    estimator = make(network=Conv(shape))
    with pytest.raises(ValueError, match="X has 144 features, but Conv is expecting 42 features"):
        estimator.fit(squares(10))
    assert not hasattr(estimator, "module_")


@pytest.mark.parametrize("shape", [(np.int64(5), np.int32(7)), [5, 7]], ids=["numpy", "list"])
def test_other_sequences_of_integers(shape):
    assert build(Conv(shape, [np.int64(4)])).encode(draw_images(2, 35))[0].shape == (2, 3)


# --- in estimators ----------------------------------------------------------------------------


@DECODERS
def test_parameters_can_be_set_and_cloned(decoder):
    vae = quick_vae(network=Conv((5, 7), (4,), decoder=decoder))
    copy = clone(vae).set_params(network__kernel_size=5, network__image_shape=(7, 5))
    assert copy.network.get_params() == vae.network.get_params() | {
        "kernel_size": 5,
        "image_shape": (7, 5),
    }
    assert vae.network.kernel_size == 3
    before = vae.network.get_params()
    build(vae.network)
    assert vars(vae.network) == before


@DECODERS
def test_reconstructs_images_that_it_has_not_seen(decoder, subtests):
    for estimator in ("vae", "sae"):
        with subtests.test(estimator=estimator):
            network = Conv((12, 12), (8,), decoder=decoder)
            if estimator == "vae":
                model = quick_vae(
                    n_components=32, network=network, max_iter=20, learning_rate_init=0.03
                )
            else:
                model = quick_sae(TopK(12), n_components=64, network=network, max_iter=20)
            model, X = fit_unwarned(model, squares()), squares(200, seed=1)
            mean_error = ((X - squares().mean(axis=0)) ** 2).sum()
            reconstruction = model.inverse_transform(model.transform(X))
            assert reconstruction.shape == X.shape
            assert ((X - reconstruction) ** 2).sum() < 0.5 * mean_error
            assert hasattr(model, "components_") == (decoder == "linear")


@pytest.mark.parametrize(("decoder", "dtype"), [("linear", "float32"), ("conv", "float64")])
def test_a_seed_fixes_the_model(decoder, dtype):
    network = Conv((12, 12), (4, 3), decoder=decoder)
    X = squares(60)
    one, two = (fit_unwarned(quick_vae(network=network, dtype=dtype), X) for _ in range(2))
    found, expected = outputs(one, X), outputs(two, X)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert np.isfinite(value).all()
    assert next(one.module_.parameters()).dtype == getattr(torch, dtype)


def test_grid_search_over_the_network():
    vae = quick_vae(network=Conv((12, 12), (4,), hidden_layer_sizes=(8,)))
    grid = {"network__channels": [(2,), (3, 2)], "network__decoder": ["linear", "conv"]}
    # Pixels that are exactly 0 in most images have no log-density to compare.
    X = squares(60) + 0.1 * np.random.default_rng(1).standard_normal((60, 144))
    search = fit_unwarned(GridSearchCV(vae, grid, cv=2, error_score="raise"), X)
    assert len(search.cv_results_["params"]) == 4
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 4
    best = search.best_estimator_
    assert best.network.channels == search.best_params_["network__channels"]
    assert (best.module_.linear_decoder is not None) == (
        search.best_params_["network__decoder"] == "linear"
    )


@pytest.mark.parametrize(("make", "decoder"), [(quick_vae, "conv"), (quick_sae, "linear")])
def test_file_and_pickle(make, decoder, tmp_path):
    X = squares(60)
    estimator = make(network=Conv((12, 12), (4, 3), decoder=decoder), max_iter=2)
    estimator = fit_unwarned(estimator, X, "partial_fit")
    skvaeense.save(estimator, tmp_path / "conv.safetensors")
    expected = outputs(estimator, X)
    for loaded in (
        skvaeense.load(tmp_path / "conv.safetensors"),
        pickle.loads(pickle.dumps(estimator)),
    ):
        assert repr(loaded) == repr(estimator)
        for name, value in outputs(loaded, X).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
        again = pickle.loads(pickle.dumps(estimator)).partial_fit(X)
        np.testing.assert_array_equal(loaded.partial_fit(X).transform(X), again.transform(X))
