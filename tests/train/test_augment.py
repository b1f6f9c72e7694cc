"""Random changes of rows: what they may and may not change."""

import numpy as np
import pytest

from esp.train.augment import Augment, rotate, rotations, shift
from esp.train.settings import AugmentSettings


def test_shift_moves_each_picture_whole_and_fills_with_zeros() -> None:
    picture = np.zeros((1, 5, 5, 1), np.uint8)
    picture[0, 2, 2, 0] = 9
    moved = shift(np.repeat(picture, 200, axis=0), 1, np.random.default_rng(0))
    places = {tuple(map(int, np.argwhere(one[..., 0] == 9)[0])) for one in moved}
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}
    assert (moved.sum(axis=(1, 2, 3)) == 9).all()


def test_shift_lets_what_leaves_the_picture_go() -> None:
    moved = shift(np.ones((50, 3, 4, 1)), 2, np.random.default_rng(1))
    assert set(np.unique(moved)) == {0.0, 1.0}
    assert moved[:, :, :, 0].sum(axis=(1, 2)).min() == 1 * 2  # two rows and two columns of 3 x 4 are gone


def test_rotations_are_rotations_within_the_angle() -> None:
    turns = rotations(100, 20.0, np.random.default_rng(2))
    np.testing.assert_allclose(turns @ np.swapaxes(turns, 1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    angles = np.degrees(np.arccos((np.trace(turns, axis1=1, axis2=2) - 1) / 2))
    assert angles.max() <= 20.0001
    assert angles.max() > 15


def test_rotation_turns_both_triads_of_a_row_alike() -> None:
    triad = np.random.default_rng(3).standard_normal((4, 10, 3)).astype(np.float32)
    turned = rotate(np.concatenate([triad, 2 * triad], axis=2), 40.0, np.random.default_rng(4))
    np.testing.assert_allclose(turned[..., 3:], 2 * turned[..., :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(turned[..., :3], axis=2), np.linalg.norm(triad, axis=2), rtol=1e-5)


def test_scale_and_noise_stay_within_what_was_set() -> None:
    rows = np.full((300, 4, 2), 10.0, np.float32)
    scaled = Augment(AugmentSettings(scale=0.2), np.ones(2))(rows, np.random.default_rng(5))
    assert scaled.min() == pytest.approx(8, abs=0.1)
    assert scaled.max() == pytest.approx(12, abs=0.1)
    assert (scaled == scaled[:, :1, :1]).all()
    noisy = Augment(AugmentSettings(noise=0.5), np.array([1.0, 4.0]))(rows, np.random.default_rng(6))
    assert (noisy - rows).std(axis=(0, 1)) == pytest.approx([0.5, 2.0], rel=0.1)
