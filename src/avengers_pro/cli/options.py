"""Options that several verbs share, and what they are turned into."""

import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import progress_bar, tell
from avengers_pro.errors import AvengersProError, MethodError, PolicyError
from avengers_pro.home import user_folder

if TYPE_CHECKING:
    from avengers_pro.embedding import Embedder, EmbeddingOptions
    from avengers_pro.records import Records

Decorated = Callable[..., Any]
RECORDS_PATH = click.Path(path_type=Path)


class _RouterFolder(click.ParamType[Path]):
    """A router's folder, or the URL or place where it was published: of these, a folder of this machine."""

    name = "path"

    def convert(self, value: str | Path, _: click.Parameter | None, __: click.Context | None) -> Path:
        from avengers_pro.routing.place import RouterPlace

        return RouterPlace(value).folder()


ROUTER_FOLDER = _RouterFolder()
SEED = click.IntRange(0, 2**31 - 1)


def checked_parent(*paths: Path | None) -> None:
    """Refuse, before any work, to write into a folder that is not there.

    Raises:
        AvengersProError: Naming the folder.
    """
    for path in paths:
        parent = None if path is None else path.absolute().parent
        if parent is not None and not parent.is_dir():
            raise AvengersProError(f"{path}: the folder {parent} does not exist; make it first")
        if parent is not None and not os.access(parent, os.W_OK):
            raise AvengersProError(f"{path}: the folder {parent} cannot be written to")


def _stack(*options: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    def decorate(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


engine_option = click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="local|ray|ray://HOST:PORT",
    help="Where the parts of a dataset are worked on: here, on all cores by Ray, or on a Ray cluster.",
)

records_options = _stack(
    click.option("--score-scale", type=float, default=1.0, help="What a perfect score is in the file, e.g. 100."),
    click.option("--skip-bad-lines", is_flag=True, help="Leave bad lines out, count them, list the first ten."),
    click.option(
        "--excluded-models", "--excluded_models", default="", metavar="A,B", help="Models left out of the pool."
    ),
    click.option("--excluded-datasets", "--excluded_datasets", default="", metavar="A,B", help="Datasets left out."),
)

embedding_options = _stack(
    click.option(
        "--embedder",
        metavar="SPEC",
        help="static (bundled), openai:<model>, model2vec:<name>, sentence-transformers:<name>.",
    ),
    click.option(
        "--embedding-base-url",
        envvar="EMBEDDING_BASE_URL",
        metavar="URL",
        help="OpenAI-compatible API for openai:<model>. [env: EMBEDDING_BASE_URL; the key: EMBEDDING_API_KEY]",
    ),
    click.option("--embedding-dimensions", type=int, help="Shorter vectors, if the server can make them."),
    click.option("--max-tokens", "--max_tokens", type=int, help="Longest text sent; longer ones keep head and tail."),
    click.option("--no-cache", is_flag=True, help="Do not keep vectors between runs."),
)


def _numbers(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers A,B,C") from error


method_options = _stack(
    click.option("--clusters", "-k", type=int, help="Clusters of k-means."),
    click.option("--top-clusters", "--top_clusters", type=int, help="Nearest clusters that decide."),
    click.option("--beta", type=float, help="Sharpness of the softmax over their distances."),
    click.option("--neighbours", type=int, help="Neighbours of knn."),
    click.option("--levels", callback=_numbers, metavar="8,16,...", help="Clusters of each level of avengers-pro."),
    click.option(
        "--features",
        type=click.Choice(["format", "none"]),
        help="Look at how a text is written, too; avengers-pro does, other methods when asked.",
    ),
    click.option(
        "--novelty/--no-novelty",
        default=None,
        help="avengers-pro: decide queries unlike any training row by the overall means (default), or not.",
    ),
    click.option(
        "--objective",
        type=click.Choice(["micro", "macro"]),
        help="avengers-pro: every query counts the same, or every dataset.",
    ),
)


METHOD_PARAMS = ("clusters", "top_clusters", "beta", "neighbours", "levels", "features", "objective", "novelty")
_PUBLISHED_PARAMS = ("clusters", "top_clusters", "beta")


def chosen_methods(named: Sequence[str], params: Mapping[str, Any], max_router: int = 1) -> list[str]:
    """Return the methods to use, ``--features`` applied; without a name, ours, or the published one its flags ask for.

    Raises:
        MethodError: If a flag is given that none of the methods has.
    """
    from avengers_pro.routing import DEFAULT_METHOD, ROUTERS
    from avengers_pro.routing.methods import settable

    given = {name: params[name] for name in METHOD_PARAMS if params.get(name) is not None}
    methods = list(ROUTERS) if "all" in named else list(named)
    if not methods and (max_router > 1 or given.keys() & set(_PUBLISHED_PARAMS)):
        methods = ["avengers-pro-code"]
        tell("using --method avengers-pro-code, the released algorithm, whose settings these flags are")
    methods = methods or [DEFAULT_METHOD]
    for name in given.keys() - {"features"}:
        if not any(name in settable(method, given) for method in methods):
            raise MethodError(f"--{name.replace('_', '-')} means nothing to {', '.join(methods)}; name another method")
    wants_format = given.get("features") == "format"
    return [f"{name}+format" if wants_format and not _looks_at_format(name) else name for name in methods]


def _looks_at_format(name: str) -> bool:
    return name == "avengers-pro" or name.endswith("+format")


weight_options = _stack(
    click.option("--alpha", type=click.FloatRange(0, 1), help="1 = quality only, 0 = cost only."),
    click.option(
        "--performance-weight", "--performance_weight", type=float, help="Older name: alpha = pw / (pw + cs)."
    ),
    click.option("--cost-sensitivity", "--cost_sensitivity", type=float, help="Older name, see above."),
)


def alpha_of(alpha: float | None, performance_weight: float | None, cost_sensitivity: float | None) -> float | None:
    """Return the one knob from itself or from its two older names; None if none is given.

    Raises:
        PolicyError: If both ways are used, or the weights are negative or both 0.
    """
    if performance_weight is None and cost_sensitivity is None:
        return alpha
    if alpha is not None:
        raise PolicyError("give --alpha, or --performance-weight and --cost-sensitivity, not both")
    if performance_weight is None or cost_sensitivity is None:
        given = performance_weight if cost_sensitivity is None else cost_sensitivity
        if given is None or not 0 <= given <= 1:
            raise PolicyError(f"one weight alone must lie in [0, 1], got {given}; the other one is the rest to 1")
        return given if cost_sensitivity is None else 1 - given
    if performance_weight < 0 or cost_sensitivity < 0 or performance_weight + cost_sensitivity == 0:
        raise PolicyError(
            "weights must not be negative and not both 0, got "
            f"--performance-weight {performance_weight:g} --cost-sensitivity {cost_sensitivity:g}"
        )
    return performance_weight / (performance_weight + cost_sensitivity)


def names(text: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Split ``a,b`` into names; lists from a config file pass through."""
    parts = text.split(",") if isinstance(text, str) else text
    return tuple(part.strip() for part in parts if part.strip())


@dataclass(frozen=True, slots=True)
class RecordsChoice:
    """Which files to read, and how."""

    paths: tuple[Path, ...]
    score_scale: float
    skip_bad_lines: bool

    def read(self) -> "Records":
        """Read with progress; skipped lines are listed on stderr."""
        from avengers_pro.records import read_records

        with progress_bar() as show:
            reading = read_records(
                *self.paths,
                score_scale=self.score_scale,
                skip_bad_lines=self.skip_bad_lines,
                progress=lambda done, total: show("reading records", done, total),
            )
        if reading.skipped:
            tell(f"{reading.skipped} bad lines left out; the first of them:")
            for problem in reading.problems:
                tell(f"  {problem}")
        return reading.records


@dataclass(frozen=True, slots=True)
class EmbeddingChoice:
    """Which embedder, and how to reach it."""

    spec: str | None
    base_url: str | None
    dimensions: int | None
    max_tokens: int | None
    no_cache: bool

    def options(self) -> "EmbeddingOptions":
        """Return the options; the key comes from the environment alone."""
        from avengers_pro.embedding import EmbeddingOptions

        return EmbeddingOptions(
            base_url=self.base_url,
            api_key=os.environ.get("EMBEDDING_API_KEY"),
            dimensions=self.dimensions,
            max_tokens=self.max_tokens,
            cache_path=None if self.no_cache else user_folder() / "vectors.sqlite",
        )

    def load(self, show: Callable[[str, int, int], None]) -> "Embedder":
        """Load the embedder."""
        from avengers_pro.embedding import load_embedder

        return load_embedder(
            self.spec or "static", self.options(), progress=lambda done, total: show("embedding", done, total)
        )


_PUBLISHED_KEYS = {
    "n_clusters": "clusters",
    "top_k": "top_clusters",
    "min_accuracy_threshold": "min_accuracy",
    "method": "methods",
    "embedding_base_url": "embedding_base_url",
}
_LISTS = frozenset({"methods"})
_WITHOUT_EFFECT = {
    "max_workers": "requests run concurrently by themselves",
    "cluster_batch_size": "batches size themselves",
    "budget_limit": "the released code never used it; route with --max-cost instead",
    "embedding_api_key": "keys come from EMBEDDING_API_KEY alone",
}


def read_config(path: Path, known: Mapping[str, click.Parameter]) -> dict[str, Any]:
    """Read a JSON or TOML file of options, by our names or by the published ones; null = not given.

    Raises:
        AvengersProError: If the file cannot be read or a key is unknown.
    """
    try:
        text = path.read_text(encoding="utf-8")
        loaded = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise AvengersProError(f"{path}: cannot be read as {path.suffix or 'JSON'}: {error}") from error
    if not isinstance(loaded, dict):
        raise AvengersProError(f"{path}: must hold one object of options")
    found: dict[str, Any] = {}
    for key, value in loaded.items():
        if value is None:
            continue
        if isinstance(value, dict):
            raise AvengersProError(f"{path}: {key} must be a value or a list, got {value!r}")
        if key in _WITHOUT_EFFECT:
            tell(f"{path}: {key} has no effect: {_WITHOUT_EFFECT[key]}")
        elif key == "embedding_model":
            found["embedder"] = f"openai:{value}"
        elif (name := key if key in known else _PUBLISHED_KEYS.get(key, key.replace("-", "_"))) in known:
            found[name] = ",".join(map(str, value)) if isinstance(value, list) and name not in _LISTS else value
        else:
            from difflib import get_close_matches

            near = get_close_matches(key, [*known, *_PUBLISHED_KEYS], n=1)
            raise AvengersProError(f"{path}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return found


def config_option() -> Callable[[Decorated], Decorated]:
    """Return ``--config FILE``: its values replace defaults; what is said on the command line wins."""

    def apply(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
        if value is not None:
            known = {parameter.name: parameter for parameter in ctx.command.params if parameter.name}
            ctx.default_map = {**(ctx.default_map or {}), **read_config(value, known)}

    return click.option(
        "--config",
        type=RECORDS_PATH,
        is_eager=True,
        expose_value=False,
        callback=apply,
        help="JSON or TOML file of options, ours or the published ones; the command line wins.",
    )
