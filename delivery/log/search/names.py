"""Resolves the names of installations and sources in a search to ids."""

from django.db.models import (
    Model,
    Value,
)

from delivery.log.search.language import Search, Term
from integrations.models import Installation, Source

NAMED_MODELS: dict[str, type[Model]] = {"installation": Installation, "source": Source}


def resolve_names(search: Search) -> Search:
    """Return a search whose installations and sources are names with resolved ids.

    They may be given by name or id. Each unknown one becomes a problem.
    """
    keys = sorted({term.key for term in search.terms} & NAMED_MODELS.keys())
    for key, names in _load_names(keys).items():
        search = _resolve_key(search, key, names)
    return search


def _load_names(keys: list[str]) -> dict[str, dict[int, str]]:
    """Return all names of these keys by id, in one statement."""
    names: dict[str, dict[int, str]] = {key: {} for key in keys}
    if keys:
        first, *others = (
            NAMED_MODELS[key]._default_manager.order_by().values_list(Value(key), "pk", "name")
            for key in keys
        )
        for key, pk, name in first.union(*others, all=True).order_by("name"):
            names[key][pk] = name
    return names


def _resolve_key(search: Search, key: str, names: dict[int, str]) -> Search:
    known = {**{str(pk): name for pk, name in names.items()}}
    known |= {name.lower(): name for name in names.values()}
    terms, problems = [], list(search.problems)
    for term in search.terms:
        if term.key != key:
            terms.append(term)
        elif term.value.lower() in known:
            terms.append(Term(key, known[term.value.lower()], term.negated))
        else:
            there = ", ".join(names.values()) or "none"
            problems.append(f"{term}: there is no {key} with this name. Existing names: {there}.")
    wanted = {term.value for term in terms if term.key == key}
    numbers = tuple((key, name, pk) for pk, name in names.items() if name in wanted)
    return Search(tuple(terms), tuple(problems), search.resolved_ids + numbers)
