"""What the trainings of all networks share: recipes, and how the command line chooses them.

A recipe is a YAML file with everything that decides the outcome of a training. Which entries it
has is each network's affair: its module has a `Recipe` of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from radar_pose_ros import documents, measurements
from radar_pose_ros.models import weights
from radar_pose_ros.skeleton import checks
from radar_pose_ros.training import processes
from radar_pose_ros.training.loop import CHECKPOINT, LoopConfig
from radar_pose_ros.wording import nearest

RECIPES = Path(__file__).with_name("recipes")


class RecipeError(ValueError):
    """A recipe that cannot be followed: says which file, which entry, what is allowed."""


R = TypeVar("R", bound="Recipe")
T = TypeVar("T")


class Recipe:
    """What the recipes of all networks have; each is a frozen dataclass with entries of its own.

    Attributes
    ----------
    presets : dict
        The networks' configurations, by name.
    preset : str
        One of them.
    loop : LoopConfig
    """

    presets: ClassVar[Mapping[str, Any]]
    preset: str
    loop: LoopConfig

    @property
    def network(self) -> Any:
        """The network's configuration."""
        raise NotImplementedError

    @property
    def is_preset(self) -> bool:
        """Whether the network is a preset as it is, so that its weights can be loaded by name."""
        return bool(self.network == self.presets[self.preset])

    @classmethod
    def of(cls: type[R], entries: Mapping[str, Any]) -> R:
        """Return the recipe of plain entries, as YAML has them."""
        raise NotImplementedError

    @classmethod
    def load(cls: type[R], path: Path) -> R:
        """Read a recipe.

        One that names another one as its ``base``, a file by its path from this one's folder, need
        only say what is different there.

        Raises
        ------
        RecipeError
            Names the file and what is wrong in it.
        """
        try:
            recipe = cls.of(entries(path))
            _require_sound(recipe.loop)
            return recipe
        except KeyError as error:
            raise RecipeError(f"{path}: there is no entry {error}") from error
        except documents.DocumentError as error:
            raise RecipeError(str(error)) from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RecipeError(f"{path}: {documents.shortened(error)}") from error


def _require_sound(loop: LoopConfig) -> None:
    """Raise ``ValueError`` for a number that nobody can train with, and name its entry."""
    for name, value in asdict(loop).items():
        if name == "bfloat16":
            continue
        if checks.real(f"loop: {name}", value, positive=name == "learning_rate") < 0:
            raise ValueError(f"loop: {name} must be 0 or more, got {value!r}")


def entries(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the entries of a recipe, with those of its base; `above` are those it is base of."""
    own = documents.read_yaml(path)
    if not isinstance(own, dict):
        raise ValueError("no recipe: want entries, each with its name")
    base = own.pop("base", None)
    if base is None:
        return own
    if not isinstance(base, str):
        raise ValueError(f"its base wants the name of a file, got {base!r:.80}")
    below = (path.parent / base).resolve()
    if below in above:
        raise ValueError(f"its base {base} leads back to itself")
    try:
        return _merge(entries(path.parent / base, (*above, below)), own)
    except OSError as error:
        raise ValueError(f"its base {base!r:.80} cannot be read: {error.strerror}") from None


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
        merged[name] = _merge(base[name], value) if both else value
    return merged


def made(kind: type[T], entries: Any, where: str = "") -> T:
    """Return a dataclass of a recipe's entries.

    Parameters
    ----------
    kind : type
        The dataclass.
    entries : mapping
    where : str
        What they are called together in the recipe, for the error.

    Raises
    ------
    ValueError
        If they are no entries, there is none of such a name, or one is missing.
    """
    there: Any = fields(kind)  # type: ignore[arg-type]
    _require_known(entries, [field.name for field in there], where)
    for field in there:
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in entries:
            raise ValueError(f"{_within(where)}there is no entry {field.name!r}")
    return kind(**entries)


def changed(preset: T, changes: Any, where: str = "model") -> T:
    """Return a network's configuration with what is to be other; raises as `made` does."""
    _require_known(changes, [field.name for field in fields(preset)], where)  # type: ignore[arg-type]
    return replace(preset, **changes)  # type: ignore[type-var]


def _require_known(entries: Any, known: Iterable[str], where: str) -> None:
    if not isinstance(entries, Mapping):
        raise ValueError(f"{_within(where)}want entries, each with its name, got {entries!r}")
    for name in entries:
        if name not in known:
            raise ValueError(
                f"{_within(where)}there is no such entry as {name!r}: {nearest(str(name), known)}"
            )


def _within(where: str) -> str:
    return f"{where}: " if where else ""


def require_length(seconds: float, rate_hz: float, frames: int) -> None:
    """Raise ``ValueError`` if simulated movements would be shorter than a network's window."""
    if round(seconds * rate_hz) < frames:
        raise ValueError(
            f"data: seconds {seconds:g} at {rate_hz:g} Hz are {round(seconds * rate_hz)} frames, "
            f"fewer than the {frames} of a window: want at least {frames / rate_hz:.3g}"
        )


def settings(recipe: Any) -> dict[str, Any]:
    """Return a recipe as JSON would have it, to be kept and compared."""
    return json.loads(json.dumps(asdict(recipe)))


def keep(recipe: Recipe, directory: Path, resume: bool) -> None:
    """Write ``recipe.json``.

    Raises
    ------
    ValueError
        If a training is to be resumed that another recipe began.
    """
    path = directory / "recipe.json"
    if resume and path.exists() and _read_json(path) != settings(recipe):
        raise ValueError(f"{directory} holds a training by another recipe, see {path.name} there")
    if processes.rank() == 0:
        measurements.write_json(path, settings(recipe))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def require_whole(name: str, value: Any) -> None:
    """Raise ``ValueError`` unless a recipe's entry is a whole number above 0."""
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, got {value!r}")


def require_preset(recipe: Recipe, path: Path | None) -> None:
    """Raise `RecipeError` for a recipe whose weights could not be loaded by the preset's name."""
    if not recipe.is_preset:
        raise RecipeError(
            f"{path} changes the preset {recipe.preset!r}: its weights could not be "
            "loaded again. Such recipes are for `radar-pose reproduce`"
        )


def require_usable(out: Path, resume: bool = False) -> None:
    """Raise an error unless a folder can take a training, before it rather than after it.

    Raises
    ------
    ValueError
        If another training's checkpoint is there, which is not to be resumed.
    WeightsError
        If weights could not be added to what is there.
    """
    if not resume and (out / CHECKPOINT).exists():
        raise ValueError(
            f"{out} holds a training already, {CHECKPOINT}: name another folder with --out, or go "
            "on with that one by --resume"
        )
    if (out / weights.MANIFEST).exists():
        weights.read_manifest(out)


def command(model: str, preset: str, **given: str | Path | None) -> str:
    """Return the call that makes weights again, files by their names, for the manifest."""
    options = [f" --{name} {Path(value).name}" for name, value in given.items() if value]
    return f"radar-pose train {model} --preset {preset}" + "".join(options)


def announce(entry: Mapping[str, Any], preset: str | None = None) -> None:
    """Say which weights are measured, as the manifest has them.

    Raises
    ------
    RecipeError
        If they are not of the preset that was asked for.
    """
    if preset and entry["preset"] != preset:
        raise RecipeError(
            f"{entry['file']} holds weights of the preset {entry['preset']}, asked for was "
            f"--preset {preset}: leave that out to measure them"
        )
    print(f"{entry['file']}: {entry['model']}, preset {entry['preset']}, {entry['sha256'][:8]}")


def revision() -> str:
    """Return the program's revision, for the manifest; "unknown" outside a git checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


# -- the command line ----------------------------------------------------------------------------


def count(text: str) -> int:
    """Read a whole number above 0 from the command line."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def device(text: str) -> str:
    """Read from the command line where to compute."""
    try:
        kind = torch.device(text).type
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of cpu, cuda, cuda:N") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError(f"{text!r}: torch finds no GPU here")
    return text


def add_recipe_arguments(
    parser: argparse.ArgumentParser, recipes: Path, preset: str | None
) -> None:
    """Declare ``--preset``, one of those that a folder has a recipe for, and ``--recipe``."""
    parser.add_argument(
        "--preset", default=preset, choices=sorted(path.stem for path in recipes.glob("*.yaml"))
    )
    parser.add_argument(
        "--recipe", type=Path, help="recipe file (default: the one shipped for the preset)"
    )


def add_training_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """Declare ``--out`` and ``--resume``."""
    parser.add_argument(
        "--out", type=Path, default=Path(out), help="curves, checkpoints and weights"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


def add_mocap_argument(parser: argparse.ArgumentParser, dest: str = "mocap") -> None:
    """Declare ``--mocap``."""
    parser.add_argument(
        "--mocap",
        dest=dest,
        type=Path,
        metavar="FILE",
        help="recorded movements, cmu_60hz.npz, which are added to simulated people",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device``."""
    parser.add_argument(
        "--device",
        type=device,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where the network computes: cpu, cuda (default: %(default)s here)",
    )


def add_threads_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--threads``."""
    parser.add_argument(
        "--threads",
        type=count,
        default=measurements.cores_available(),
        help="threads of the network",
    )
