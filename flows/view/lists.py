"""Lists of rows with filters: what the address asks for, as SQL and as the address of another page of the list."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request

from flows.view.reader import Page, Reader
from flows.view.rendering import number_in

PAGE_SIZE = 50
_LONGEST_VALUE = 200  # characters; a longer one is nothing to choose from a list


class Choice(NamedTuple):
    """A filter: its name in addresses, its label, and the condition on a row with one question mark for the value.

    `options` is a query for the values to choose from; none: any text. `like`: the text is searched for.
    """

    name: str
    label: str
    condition: str
    options: str = ""
    like: bool = False
    fixed: tuple[tuple[str, str], ...] = ()
    """Values with their labels, each with a condition of its own under `conditions`."""
    conditions: Mapping[str, str] = {}
    found: Callable[[Request, str], str] | None = None
    """What the question mark stands for instead of a value of `fixed`, such as the keys of rows."""


def values_of(column: str, rows: str) -> str:
    """The query of the values that a column of `rows` (a table or a query in brackets) has."""
    return f"SELECT DISTINCT {column} AS value FROM {rows} WHERE {column} IS NOT NULL ORDER BY 1"


def of_run(rows: str) -> tuple[Choice, Choice]:
    """The filters by run and iteration, which every list has."""
    return (
        Choice("run", "Run", "run_id = ?", values_of("run_id", rows)),
        Choice("iteration", "Iteration", "CAST(iteration AS VARCHAR) = ?", values_of("iteration", rows)),
    )


class Listing(NamedTuple):
    """A list as it was asked for."""

    page: Page
    values: dict[str, str]
    options: dict[str, list[tuple[str, str]]]
    sort: str
    with_page: Callable[[int], str]
    query: str
    """The filters as an address' query, for the pages of the rows: they know their neighbours by it."""


class Lister:
    """A kind of list: the query of its rows, its filters and orders.

    Args:
        rows: a query; filters and orders name its columns.
        choices: the filters.
        orders: SQL by name; the first is the default. Each must leave no two rows equal.
        path: the list's address.
    """

    def __init__(self, rows: str, choices: Sequence[Choice], orders: Mapping[str, str], path: str) -> None:
        self.rows, self.choices, self.orders, self.path = rows, tuple(choices), dict(orders), path

    def asked(self, request: Request, reader: Reader) -> Listing:
        """The page of the list that an address asks for."""
        values, sort = self.values(request), self.sort(request)
        sql, parameters = self.filtered(values, request)
        page = reader.page(f"{sql} ORDER BY {self.orders[sort]}", parameters, number_in(request, "page"), PAGE_SIZE)
        asked = {**values, **({"sort": sort} if sort != next(iter(self.orders)) else {})}

        def with_page(number: int) -> str:
            return f"{self.path}?{urlencode({**asked, 'page': str(number)})}"

        options = {choice.name: self._options(choice, reader) for choice in self.choices}
        return Listing(page, values, options, sort, with_page, urlencode(asked))

    def neighbours(self, request: Request, reader: Reader, key: str, value: str) -> tuple[str | None, str | None]:
        """The rows before and after one, in the list that an address' query describes."""
        sql, parameters = self.filtered(self.values(request), request)
        order = self.orders[self.sort(request)]
        found = reader.one(
            f"SELECT before, after FROM (SELECT {key}, lag({key}) OVER (ORDER BY {order}) AS before, "
            f"lead({key}) OVER (ORDER BY {order}) AS after FROM ({sql})) WHERE {key} = ?",
            [*parameters, value],
        )
        return (None, None) if found is None else (found["before"], found["after"])

    def asked_query(self, request: Request) -> str:
        """The filters and the order of an address as a query, to be handed on to other rows of the same list."""
        asked = dict(self.values(request))
        if "sort" in request.query_params:
            asked["sort"] = self.sort(request)
        return urlencode(asked)

    def values(self, request: Request) -> dict[str, str]:
        """The filters that are set."""
        asked = {choice.name: request.query_params.get(choice.name, "") for choice in self.choices}
        return {name: value for name, value in asked.items() if value}

    def sort(self, request: Request) -> str:
        """The order asked for, or the default."""
        asked = request.query_params.get("sort", "")
        return asked if asked in self.orders else next(iter(self.orders))

    def filtered(self, values: Mapping[str, str], request: Request) -> tuple[str, list[str]]:
        """The query of the rows that the filters leave, and its parameters."""
        conditions: list[str] = []
        parameters: list[str] = []
        for choice in self.choices:
            value = values.get(choice.name)
            if value is None:
                continue
            if choice.conditions:
                conditions.append(choice.conditions.get(value, "false"))
                continue
            conditions.append(choice.condition)
            if choice.found is not None:
                parameters.append(choice.found(request, value))
                continue
            parameters.append(f"%{_escaped(value)}%" if choice.like else value)
        where = f" WHERE {' AND '.join(f'({condition})' for condition in conditions)}" if conditions else ""
        return f"SELECT * FROM ({self.rows}){where}", parameters

    def _options(self, choice: Choice, reader: Reader) -> list[tuple[str, str]]:
        if choice.fixed:
            return list(choice.fixed)
        if not choice.options:
            return []
        values = [str(row["value"]) for row in reader.rows(choice.options)]
        return [(value, value) for value in values if len(value) <= _LONGEST_VALUE]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
