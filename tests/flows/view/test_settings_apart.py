from flows.view.settings_apart import settings_apart


def test_only_what_differs_is_told_by_the_shortest_names():
    first = {"seed": 0, "method": {"pairs": {"method": "spar", "tokens": None}, "votes": 5}, "actor": {"rate": 1}}
    second = {"seed": 1, "method": {"pairs": {"method": "grpo", "tokens": "spar"}, "votes": 5}, "actor": {"rate": 1}}
    assert settings_apart([first, second]) == [
        ["method=spar", "tokens=null", "seed=0"],
        ["method=grpo", "tokens=spar", "seed=1"],
    ]


def test_names_that_are_alike_are_told_with_what_they_belong_to():
    configs = [{"actor": {"rate": n, "on": True}, "refiner": {"rate": n}, "seed": 3} for n in (1, 2)]
    assert settings_apart(configs)[1] == ["actor.rate=2", "refiner.rate=2"]


def test_alone_alike_or_of_another_version():
    assert settings_apart([]) == []
    assert settings_apart([{"seed": 0}]) == [[]]
    assert settings_apart([{"seed": 0}, {"seed": 0}]) == [[], []]
    assert settings_apart([{"seed": 0}, {"seed": 0, "newer": {"on": False}}]) == [[], ["on=false"]]


def test_many_are_counted():
    first, second = ({f"key{n}": value for n in range(9)} for value in (0, 1))
    assert settings_apart([first, second])[0][-1] == "and 3 more"
