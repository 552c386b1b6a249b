"""Noise schedules of the family, and the DDIM timestep grids.

Two descriptions of one diffusion process meet here.

- The publications are variance preserving, with *dynamic rescale* shrinking the clean latent:
  `x_t = sqrt(alpha_bar) * scale * x_0 + sqrt(1 - alpha_bar) * eps`.
- Host samplers are variance exploding: `y = x_0 + sigma * eps`, with
  `sigma = sqrt(1 - alpha_bar) / (sqrt(alpha_bar) * scale)`, hence `x_t = scale * y / sqrt(1 + u^2)`
  where `u = scale * sigma`.

Every conversion between the two lives in `NoiseSchedule`.
"""

from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..shown import shown
from ..variants import FinalScale, Parameterization, Spacing, Variant

NUM_TIMESTEPS = 1000
RESCALE_TURNING_STEP = 400

Ending = Literal["clean", "published"]

# With zero terminal SNR the last sigma would be infinite. This is ComfyUI's own stand-in for that
# alpha-bar, so our sigma_max equals the one its zero-SNR models use.
_ALPHA_BAR_FLOOR = 4.8973451890853435e-08
# Neighbouring sigmas are at least 0.4 % apart; a sigma this close to the table is on it.
_GRID_TOLERANCE = 1e-4


def linear_alphas_cumprod(
    num_timesteps: int = NUM_TIMESTEPS, linear_start: float = 0.00085, linear_end: float = 0.012
) -> Tensor:
    """alpha-bar of the "scaled linear" schedule: float64 `[num_timesteps]`.

    Source: latent diffusion; DynamiCrafter's `make_beta_schedule`.
    """
    betas = np.linspace(linear_start**0.5, linear_end**0.5, num_timesteps, dtype=np.float64) ** 2
    return torch.from_numpy(np.cumprod(1.0 - betas))


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and stretch a schedule so that its last alpha-bar is exactly 0: float64, same shape.

    Source: Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps Are Flawed", alg. 1.
    """
    roots = alphas_cumprod.double().sqrt().numpy()
    first, last = roots[0], roots[-1]
    shifted = ((roots - last) * (first / (first - last))) ** 2
    # The published buffers are a cumulative product of the resulting betas: the detour decides
    # their last float32 digits.
    betas = 1.0 - np.concatenate([shifted[:1], shifted[1:] / shifted[:-1]])
    return torch.from_numpy(np.cumprod(1.0 - betas))


def dynamic_rescale(
    base_scale: float,
    num_timesteps: int = NUM_TIMESTEPS,
    turning_step: int = RESCALE_TURNING_STEP,
) -> Tensor:
    """Scale of the clean latent per timestep, as stored: float64 `[turning_step + num_timesteps]`.

    Linear from 1 to `base_scale`, then constant; entries from `num_timesteps` on are never used.
    Source: LVDM's `scale_arr`; DynamiCrafter 512 uses 0.7, 1024 uses 0.3.
    """
    ramp = np.linspace(1.0, base_scale, turning_step)
    return torch.from_numpy(np.concatenate([ramp, np.full(num_timesteps, base_scale)]))


def timesteps(
    steps: int,
    spacing: Spacing,
    start_timestep: int = NUM_TIMESTEPS,
    denoise: float = 1.0,
) -> Tensor:
    """The published DDIM grid, largest timestep first: int64 `[about steps]`, never empty.

    Where the published grid is valid this is exactly that grid, which for `uniform` may hold more
    entries than `steps`. Entries that would index outside the table, and repeated ones, which make
    the published sampler fail, are left out.

    start_timestep: M of conditional image leakage (CIL): the grid is built on M timesteps.
    denoise: below 1, the last `steps` entries of a grid of `int(steps / denoise)`, as the host's
        schedulers do; 0 or less gives an empty tensor.
    Raises ValueError for a value out of range.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; set at least 1.")
    if not 1 <= start_timestep <= NUM_TIMESTEPS:
        raise ValueError(f"start_timestep is {start_timestep}; choose 1 to {NUM_TIMESTEPS}.")
    if denoise <= 0.0:
        return torch.empty(0, dtype=torch.int64)
    grid = _published_grid(
        steps if denoise >= 1.0 else int(steps / denoise), spacing, start_timestep
    )
    if denoise < 1.0:
        grid = grid[:steps]
    grid = np.unique(grid[(grid >= 0) & (grid < NUM_TIMESTEPS)])
    if grid.size == 0:
        grid = np.zeros(1, dtype=np.int64)
    return torch.from_numpy(grid[::-1].copy())


def _published_grid(steps: int, spacing: Spacing, num_timesteps: int) -> np.ndarray:
    """Ascending timesteps as the published sampler computes them, valid or not."""
    if spacing == "uniform":
        stride = max(num_timesteps // steps, 1)
        return np.arange(0, num_timesteps, stride, dtype=np.int64) + 1
    if spacing == "uniform_trailing":
        # NumPy's arange and its rounding half to even decide some entries.
        descending = np.round(np.arange(num_timesteps, 0, -(num_timesteps / steps)))
        return descending[::-1].astype(np.int64) - 1
    raise ValueError(f"spacing is '{shown(spacing)}'; choose uniform or uniform_trailing.")


class NoiseSchedule:
    """alpha-bar and scale of every timestep, and the way between the two state spaces.

    alphas_cumprod: float32 `[N]`, strictly decreasing, the last may be exactly 0.
    scale: float32 `[N]`, positive, ones without dynamic rescale.
    parameterization: what the network predicts.
    final_scale: what the published sampler's last step leaves on the latent: DynamiCrafter keeps
        the scale of the last visited timestep ("last"), VideoCrafter divides it out ("none").

    Raises ValueError for tables that are not a schedule.

    Methods take `sigma` as a scalar or `[B]`, broadcast over the trailing axes of the other
    tensors, and compute in float32 on the device of `sigma`.
    """

    def __init__(
        self,
        alphas_cumprod: Tensor,
        scale: Tensor,
        parameterization: Parameterization,
        final_scale: FinalScale = "last",
    ):
        self.alphas_cumprod, self.scale = alphas_cumprod, scale
        self.parameterization: Parameterization = parameterization
        self.final_scale: FinalScale = final_scale
        self._check()

    def _check(self) -> None:
        alphas, scale = self.alphas_cumprod, self.scale
        if alphas.ndim != 1 or alphas.shape != scale.shape or len(alphas) < 2:
            raise ValueError(
                f"alphas_cumprod has shape {list(alphas.shape)} and scale {list(scale.shape)}; "
                "a schedule needs two lists of one length."
            )
        decreasing = bool((alphas.diff() < 0).all()) and bool(alphas[0] < 1)
        if not decreasing or bool(alphas[-1] < 0) or not bool((scale > 0).all()):
            raise ValueError(
                "The noise schedule is damaged: alphas_cumprod must fall strictly from below 1 to "
                "at least 0 and scale must be positive. Use a checkpoint with intact buffers, or "
                "one without any."
            )
        if not bool((self.sigmas.diff() > 0).all()):
            raise ValueError(
                "The noise schedule is damaged: dynamic rescale makes its noise levels fall as the "
                "timestep grows. Use a checkpoint with intact buffers, or one without any."
            )

    @classmethod
    def from_variant(
        cls,
        zero_terminal_snr: bool,
        base_scale: float | None,
        parameterization: Parameterization,
        final_scale: FinalScale = "last",
    ) -> "NoiseSchedule":
        """The schedule that a published configuration describes.

        base_scale: floor of dynamic rescale; None means that it is off.
        """
        alphas = _published_alphas(zero_terminal_snr)
        scale = _published_scale(base_scale)
        return cls(alphas, scale, parameterization, final_scale)

    @classmethod
    def from_buffers(
        cls,
        alphas_cumprod: Tensor,
        scale_arr: Tensor | None,
        parameterization: Parameterization,
        final_scale: FinalScale = "last",
    ) -> "NoiseSchedule":
        """The schedule stored in a checkpoint, which at inference wins over any configuration.

        alphas_cumprod: `[N]`; scale_arr: `[N or more]`, None without dynamic rescale.
        Buffers that a half-precision file has rounded are read as the published schedule that
        rounds to them. Raises ValueError for buffers that are not a schedule.
        """
        if alphas_cumprod.ndim != 1:
            raise ValueError(
                f"alphas_cumprod has shape {list(alphas_cumprod.shape)}; expected one axis."
            )
        count = len(alphas_cumprod)
        if count != NUM_TIMESTEPS:
            raise ValueError(f"alphas_cumprod has {count} timesteps; expected {NUM_TIMESTEPS}.")
        alphas = _undo_rounding(alphas_cumprod, [_published_alphas(z) for z in (True, False)])
        if scale_arr is None:
            return cls(alphas, torch.ones(count), parameterization, final_scale)
        if scale_arr.ndim != 1 or len(scale_arr) < count:
            raise ValueError(
                f"scale_arr has shape {list(scale_arr.shape)}; expected at least {count} numbers."
            )
        published = [_published_scale(base) for base in (0.7, 0.3)]
        scale = _undo_rounding(scale_arr[:count], published)
        return cls(alphas, scale, parameterization, final_scale)

    @cached_property
    def sigmas(self) -> Tensor:
        """Noise level of every timestep in the host's terms: float32 `[N]`, strictly rising."""
        alphas = self.alphas_cumprod.double()
        alphas = torch.where(alphas > 0, alphas, _ALPHA_BAR_FLOOR)
        return ((1 - alphas).sqrt() / (alphas.sqrt() * self.scale.double())).float()

    def scale_at(self, sigma: Tensor) -> Tensor:
        """Dynamic-rescale factor at `sigma`: float32, the shape of `sigma`.

        Linear in log sigma between timesteps, exact on them, constant outside.
        """
        sigma = sigma.float()
        # Kept nowhere: a table on a card would stay there when the model leaves it.
        table, scale = (t.to(sigma.device, non_blocking=True) for t in (self.sigmas, self.scale))
        sigma = sigma.clamp(table[0], table[-1])
        low = (torch.searchsorted(table, sigma.contiguous(), right=True) - 1).clamp(
            0, len(table) - 2
        )
        # `table[low]` would read a scalar `low` from the device.
        start, end = table.take(low).log(), table.take(low + 1).log()
        weight = (sigma.log() - start) / (end - start)
        return torch.lerp(scale.take(low), scale.take(low + 1), weight)

    def timestep_of(self, sigma: Tensor | float) -> tuple[int, bool]:
        """Nearest timestep in log sigma, and whether `sigma` is on the table (relative 1e-4)."""
        index, on_grid = self._nearest(torch.as_tensor(sigma).reshape(1))
        return int(index), bool(on_grid)

    def table_values(self, sigmas: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha-bar, scale) at `sigmas`: float32 `[K]` on the CPU.

        The table's own values on the grid; off it, `1 / (1 + u^2)` and the interpolated scale.
        """
        sigmas = sigmas.detach().cpu()
        index, on_grid = self._nearest(sigmas)
        scale = torch.where(on_grid, self.scale[index], self.scale_at(sigmas))
        between = 1 / (1 + (scale.double() * sigmas.double()) ** 2)
        return torch.where(on_grid, self.alphas_cumprod[index], between.float()), scale

    def _nearest(self, sigmas: Tensor) -> tuple[Tensor, Tensor]:
        sigmas = sigmas.detach().cpu().double()
        table = self.sigmas.double()
        index = (table.log() - sigmas.log()[:, None]).abs().argmin(dim=1)
        return index, (table[index] - sigmas).abs() <= _GRID_TOLERANCE * sigmas

    def model_input(self, sigma: Tensor, y: Tensor) -> Tensor:
        """The network's input, the variance-preserving `x_t`, from the host's state `y`.

        sigma: one, or one for each row of `y`, in this method and the next ones. y: `[B, ...]`.
        """
        scale, u, _ = self._levels(sigma, y)
        return scale * y / (1 + u**2).sqrt()

    def state_from_model_input(self, sigma: Tensor, x_t: Tensor) -> Tensor:
        """The host's state `y` from the variance-preserving `x_t`: inverse of `model_input`."""
        scale, u, _ = self._levels(sigma, x_t)
        return x_t * (1 + u**2).sqrt() / scale

    def denoised(self, sigma: Tensor, output: Tensor, y: Tensor) -> Tensor:
        """The unscaled clean latent that the network's `output` at state `y` stands for."""
        scale, u, sigma = self._levels(sigma, y)
        if self.parameterization == "eps":
            return y - output * sigma
        return (scale * y / (1 + u**2) - output * u / (1 + u**2).sqrt()) / scale

    def output_from_denoised(self, sigma: Tensor, denoised: Tensor, y: Tensor) -> Tensor:
        """The network output that `denoised` stands for at state `y`: inverse of `denoised`."""
        scale, u, sigma = self._levels(sigma, y)
        if self.parameterization == "eps":
            return (y - denoised) / sigma
        return (scale * y / (1 + u**2) - scale * denoised) * (1 + u**2).sqrt() / u

    def _levels(self, sigma: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(scale, u, sigma), shaped to broadcast over the trailing axes of `like`."""
        sigma = sigma.float()
        if sigma.numel() == 1:
            sigma = sigma.reshape(())
        else:
            sigma = sigma.reshape(-1, *([1] * (like.ndim - 1)))
        scale = self.scale_at(sigma)
        return scale, scale * sigma, sigma


def schedule_of(variant: Variant) -> NoiseSchedule:
    """The noise schedule that a variant's configuration describes, as training registers it."""
    return NoiseSchedule.from_variant(
        variant.zero_terminal_snr, variant.base_scale, variant.parameterization, variant.final_scale
    )


def ddim_sigmas(schedule: NoiseSchedule, timesteps: Tensor, ending: Ending) -> Tensor:
    """The host's noise levels for a grid of timesteps: float32 `[len(timesteps) + 1]`.

    ending: "clean" ends at 0; "published" ends at the noise level of timestep 0, where the
    published sampler stops. No timesteps give no sigmas. Raises ValueError for another ending.
    """
    if ending not in ("clean", "published"):
        raise ValueError(f"ending is '{shown(ending)}'; choose clean or published.")
    if len(timesteps) == 0:
        return torch.empty(0)
    last = schedule.sigmas[:1] if ending == "published" else torch.zeros(1)
    return torch.cat([schedule.sigmas[timesteps], last])


def is_published_ending(schedule: NoiseSchedule, sigmas: Tensor) -> bool:
    """Whether `sigmas` end where the published sampler stops (relative 1e-4)."""
    return len(sigmas) > 0 and schedule.timestep_of(sigmas[-1]) == (0, True)


def _published_alphas(with_zero_terminal_snr: bool) -> Tensor:
    alphas = linear_alphas_cumprod()
    return (zero_terminal_snr(alphas) if with_zero_terminal_snr else alphas).float()


def _published_scale(base_scale: float | None) -> Tensor:
    if base_scale is None:
        return torch.ones(NUM_TIMESTEPS)
    return dynamic_rescale(base_scale)[:NUM_TIMESTEPS].float()


def _undo_rounding(buffer: Tensor, published: list[Tensor]) -> Tensor:
    """The published table that a half-precision `buffer` is the rounding of, else the buffer."""
    if buffer.dtype != torch.float32:
        for table in published:
            if torch.equal(table.to(buffer.dtype), buffer.cpu()):
                return table
    return buffer.detach().float().cpu()
