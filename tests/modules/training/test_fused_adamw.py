import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.training.fused_adamw import FusedAdamW

SETTINGS = {"learning_rate": 0.1, "beta_2": 0.95, "weight_decay": 0.5, "global_clipnorm": 1.0}


SHAPES = {"kernel": (5, 3), "bias": (3,)}


def variables_of() -> list[keras.Variable]:
    generator = np.random.default_rng(0)
    return [keras.Variable(generator.normal(size=shape), name=name) for name, shape in SHAPES.items()]


def train(optimizer: keras.optimizers.Optimizer, steps: int, *, jit_compile: bool = False) -> list[np.ndarray]:
    variables = variables_of()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(variables)
    generator = np.random.default_rng(1)

    @tf.function(jit_compile=jit_compile)
    def step(*gradients):
        optimizer.apply(gradients, variables)

    for _ in range(steps):
        # 18 normal numbers have a norm of about 4, so that every step is clipped.
        step(*(tf.constant(generator.normal(size=shape), tf.float32) for shape in SHAPES.values()))
    return [variable.numpy() for variable in variables]


def test_the_first_step_equals_the_calculation_by_hand():
    variable = keras.Variable([1.0, -2.0])
    optimizer = FusedAdamW(0.1, weight_decay=0.5)
    optimizer.apply([tf.constant([3.0, -3.0])], [variable])
    # The decay multiplies by 1 - 0.1 × 0.5. The first step of Adam then subtracts 0.1 times the sign of the gradient.
    np.testing.assert_allclose(variable.numpy(), [0.95 - 0.1, -1.9 + 0.1], rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_ten_steps_equal_those_of_keras(jit_compile):
    ours = train(FusedAdamW(**SETTINGS), 10, jit_compile=jit_compile)
    keras_own = train(keras.optimizers.AdamW(**SETTINGS), 10, jit_compile=jit_compile)
    for got, expected in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_sparse_gradients_move_the_moments_of_all_rows():
    variable = keras.Variable(np.ones([3, 2]))
    optimizer = FusedAdamW(0.1, weight_decay=0.0)
    optimizer.apply([tf.IndexedSlices(tf.ones([2, 2]), tf.constant([2, 2]), tf.constant([3, 2]))], [variable])
    np.testing.assert_allclose(variable.numpy(), [[1, 1], [1, 1], [0.9, 0.9]], rtol=1e-5)


def test_variables_have_the_names_of_keras_so_that_checkpoints_fit_both():
    optimizers = [kind(**SETTINGS) for kind in (keras.optimizers.AdamW, FusedAdamW)]
    for optimizer in optimizers:
        optimizer.build(variables_of())
    keras_own, ours = ([variable.path.split("/")[-1] for variable in optimizer.variables] for optimizer in optimizers)
    assert ours == keras_own
    assert ours[2:] == ["kernel_momentum", "kernel_velocity", "bias_momentum", "bias_velocity"]


def test_a_gradient_that_is_not_finite_makes_the_weights_nan():
    variable = keras.Variable([1.0])
    FusedAdamW(**SETTINGS).apply([tf.constant([np.inf])], [variable])
    assert np.isnan(variable.numpy()).all()


def test_variables_are_updated_in_a_replica_of_a_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        variable = keras.Variable([1.0, -2.0])
        optimizer = FusedAdamW(0.1, weight_decay=0.5)
        optimizer.build([variable])

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([tf.constant([3.0, -3.0])], [variable]))

    step()
    np.testing.assert_allclose(variable.numpy(), [0.85, -1.8], rtol=1e-5)


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="`amsgrad` must be False"):
        FusedAdamW(amsgrad=True)
