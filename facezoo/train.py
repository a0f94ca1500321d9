"""Train from the command line: ``python -m facezoo.train recipe=NAME key=value ...``.

``recipe=list`` names the shipped recipes, ``recipe=path/to/file.yaml`` takes any other. ``smoke=true`` trains half a
minute on a handful of people, to see that everything works. The same command again goes on where a run stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from facezoo.errors import FacezooError, RecipeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the training that the arguments describe; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    first = True
    try:
        if not given or given[0] in ("-h", "--help"):
            print(__doc__)
            return 0
        names = [a.partition("=")[2] for a in given if a.startswith("recipe=")]
        if len(names) != 1:
            raise RecipeError(
                "give recipe=NAME once, e.g. 'python -m facezoo.train recipe=dense'; recipe=list names them"
            )
        from lightning.pytorch.utilities import rank_zero_only

        from facezoo.config import list_recipes, load_recipe, to_yaml, versions

        if names[0] == "list":
            for name, line in list_recipes().items():
                print(f"{name:16s} {line}")
            return 0
        recipe = load_recipe(names[0], [a for a in given if not a.startswith("recipe=")])
        if first := not rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning sets it on the function
            print(f"# {', '.join(f'{k} {v}' for k, v in versions().items())}\n{to_yaml(recipe)}", flush=True)
        from facezoo.training.run import train

        train(recipe)
    except FacezooError as error:
        if first:  # the other processes of a run say the same
            print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
