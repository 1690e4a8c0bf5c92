"""The command ``avengers-pro`` and its verbs, loaded when they are used."""

import logging
import sys
from importlib import import_module

import click

from avengers_pro.errors import AvengersProError

VERBS = {
    "demo": "The story in a minute, offline, on simulated data.",
    "convert": "Turn results of other evaluation tools into records.",
    "collect": "Make records: ask every model of a pool, grade and price the answers.",
    "inspect": "Say what is in a records file or a router, and what is wrong with it.",
    "fit": "Fit a router on your evaluation records and save it.",
    "evaluate": "Prove on held-out records whether routing beats the best single model.",
    "sweep": "Measure one parameter over many values, on the same splits.",
    "route": "Choose a model for one query, or for a file of queries.",
    "models": "List a router's models; add, remove or reprice one without fitting again.",
    "publish": "Put a router where all gateways take it from, or go back to an earlier one.",
    "serve": "Serve a router as one OpenAI-compatible endpoint.",
    "learn": "Bring a router up to date with the feedback in the gateway's ledger.",
    "compare": "Say whether another router may take over, on held-out records or on logged traffic.",
    "drift": "Check whether traffic, answers and prices are still those that a router was trained for.",
    "keys": "Make, list and revoke the API keys of the gateway's clients.",
    "ledger": "Export, sum up and prune what the gateway recorded.",
    "store": "Bring the gateway's database to the schema of this version.",
}


class LazyVerbs(click.Group):
    """Imports a verb's module only when it runs, so that ``--help`` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the verbs in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"avengers_pro.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=LazyVerbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="avengers-pro", prog_name="avengers-pro")
def program() -> None:
    """Train a router on your own evaluation records, prove it, and route each query to the right LLM.

    \b
    Try:
      avengers-pro demo
      avengers-pro evaluate records.jsonl
      avengers-pro fit records.jsonl -o router/
      avengers-pro route router/ "Prove that 2 is irrational." --alpha 0.5
      avengers-pro serve router/ --config gateway.toml
    """  # noqa: D301


def main() -> None:
    """Run the program: exit status 0 done, 1 refused or failed with a message, 2 usage."""
    logging.getLogger("stamina").addHandler(logging.NullHandler())  # retries that succeed are nobody's concern
    try:
        program(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except AvengersProError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        # The reader of our output, for example `head`, has gone; nobody is left to tell.
        sys.stderr.close()
        sys.exit(0)
