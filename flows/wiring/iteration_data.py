"""The data of one iteration: which stages each method of making pairs runs, and what they read.

Stages that methods have in common have equal keys, so that in one home they are computed once for all of them.
"""

from typing import Any, cast

from flows.wiring.handovers import Data, Models
from flows.wiring.models import ModelFinder
from flows.wiring.overlap import judged_ahead, searched_ahead
from flows.wiring.prompting import RunPrompts
from flows.wiring.request import Run
from flows.wiring.rule_teaching import RuleTeaching
from flows.wiring.stage_calls import StageRunner, data_ref, plain
from flows.wiring.teaching import Teaching
from flows.wiring.token_budget import TokenBudget
from spar_core.config.method import SearchConfig
from spar_core.methods.plugin import OnlineMethod, PairsMethod
from spar_core.search.shares import Uses
from storage.artifacts import ArtifactRef
from tasks.ahead import Ahead
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.given_data import GIVEN_EXAMPLES
from tasks.judgements import JUDGEMENTS, SECOND_VOTER
from tasks.negatives import NEGATIVES
from tasks.responses import RESPONSES
from tasks.rubric_scores import META_JUDGEMENTS, RUBRIC_SCORES
from tasks.training_data import FURTHER, JUDGE_PAIRS, PAIRS, REFINER_DATA
from tasks.trees import TREES
from tasks.warm_start import WARM_START_EXAMPLES

Inputs = dict[str, ArtifactRef]
_MORE = "more"
"""Place of the stages that draw and judge further samples."""


class IterationData:
    """Runs the stages that make an iteration's data. Use it inside a flow."""

    def __init__(self, run: Run, stages: StageRunner, finder: ModelFinder | None = None) -> None:
        self._run = run
        self._config = run.config
        self._method = run.config.method
        self._stages = stages
        self._finder = finder or ModelFinder(run.home, run.config.engine)
        self._prompts = RunPrompts(run, stages, self._finder)
        self.tokens = TokenBudget(run)
        """What an iteration may write (`method.pairs.tokens`)."""

    def prepare(self) -> None:
        """What is made once for all iterations, before the first: prompts that a model evolves.

        Raises:
            ConfigError: the run whose tokens this one is to match is not there.
        """
        self.tokens.check()
        self._prompts.evolve_up_front()

    def make(self, iteration: int, models: Models, first: Models) -> Data:
        """Prompts, answers, what the method knows of them, and the training data made of that.

        `first`: the models after the warm start, for `judging.second_voter: first`.
        """
        chosen, learns_by = self._method.at(iteration), self._config.refiner_learns_by()
        if isinstance(chosen, OnlineMethod):
            return Data(self._prompts.of_iteration(iteration), None, None)
        method = cast("PairsMethod", chosen)
        judging = {"judgements", "trees"} & {*method.reads} or learns_by == "rft"
        known: Inputs = {"prompts": self._prompts.of_iteration(iteration)}
        judges = self._judges(models.refiner, first.refiner)
        answer = self._answer(iteration, known, models.actor)
        judged = judged_ahead(JUDGEMENTS, self._judge(iteration, known, judges, method), answer) if judging else None
        known["responses"] = self._stages.made(RESPONSES, answer, then=judged)
        answered = dict(known)
        if judging:
            known |= self._judged(iteration, answered, judges, method, judged)
            if method.follows_tokens:
                known |= self._further(iteration, known, models.actor, judges)
        if "scores" in method.reads or learns_by == "dpo":
            scorer = models.of(self._method.pairs.scorer)
            known["scores"] = self._scored(iteration, answered, scorer)
            if learns_by == "dpo":
                known["comparisons"] = self._compared(iteration, known, scorer)
        pairs = self._pairs(iteration, method, known)
        refiner = None
        if learns_by == "rft":
            refiner = self._refiner_examples(iteration, known)
        elif learns_by == "dpo":
            refiner = self._judge_pairs(iteration, known)
        return Data(known["prompts"], pairs, refiner, known.get("trees"))

    def warm_start_examples(self) -> dict[str, ArtifactRef]:
        """The examples of iteration 0 per role; a role without any is left out."""
        warm = self._config.warm_start
        if warm.source == "teacher":
            teaching = Teaching(self._run, self._stages.beside(), self._prompts, self._finder)
            return teaching.examples(self._finder.base(self._run))
        if warm.source == "rules":
            base, taught = self._finder.base(self._run), {}
            if warm.teacher is not None:
                taught = Teaching(self._run, self._stages.beside(), self._prompts, self._finder).examples(base)
            return RuleTeaching(self._run, self._stages.beside(), self._prompts).examples(base.actor, taught)
        counts = {"actor": warm.actor_examples, "refiner": warm.refiner_examples}
        files = {"actor": warm.actor_file, "refiner": warm.refiner_file}
        examples = {}
        for role, stage in WARM_START_EXAMPLES.items():
            given = files[role] is not None if warm.source == "file" else counts[role] > 0
            if warm.source == "none" or not given:
                continue
            source = files[role]
            if warm.source == "file" and source is not None:
                reads = {"role": role, "skip_bad": warm.skip_bad, **self._stages.templates("judge", "refine")}
                given_data = {"data": data_ref(source)}
                examples[role] = self._stages.run(GIVEN_EXAMPLES[role], 0, files=given_data, config=reads)
                continue
            config: dict[str, Any] = {"role": role, "source": warm.source, "count": counts[role]}
            if role == "refiner":  # taught in the texts it will be asked in
                config |= self._stages.templates("judge", "refine", "rubric", "meta_judge")
            examples[role] = self._stages.run(stage, 0, config=config)
        return examples

    def _further(self, iteration: int, known: Inputs, actor: ModelRef, judges: dict[str, ModelRef]) -> Inputs:
        """Samples beyond the usual ones, and their judgements: as many as what is left of the tokens pays for."""
        sampling = self._method.responses
        spent = sum(self._stages.tokens_of(known[name]) for name in ("responses", "judgements"))
        more = self.tokens.further_samples(iteration, spent, sampling.per_prompt)
        if not more:
            return {}
        reads = {"responses": plain(sampling.model_copy(update={"per_prompt": more})), "first": sampling.per_prompt}
        asked = {"prompts": known["prompts"]}
        answered = self._stages.run(RESPONSES.named(_MORE), iteration, asked, {"actor": actor}, reads)
        judging = {"judging": self._judging(), **self._stages.templates("judge")}
        inputs = {**asked, "responses": answered}
        judged = self._stages.run(JUDGEMENTS.named(_MORE), iteration, inputs, judges, judging)
        return {f"{FURTHER}responses": answered, f"{FURTHER}judgements": judged}

    def _answer(self, iteration: int, asked: Inputs, actor: ModelRef) -> StageCall:
        sampling = {"responses": plain(self._method.responses)}
        return self._stages.call(RESPONSES, iteration, asked, {"actor": actor}, sampling)

    def _judges(self, refiner: ModelRef, first_refiner: ModelRef) -> dict[str, ModelRef]:
        """Who votes, by role in the stages."""
        second = self._method.judging.second_voter
        if second is None:
            return {"refiner": refiner}
        if second == "first":
            return {"refiner": refiner, SECOND_VOTER: first_refiner}
        voter = self._finder.served(second)
        self._stages.serve(SECOND_VOTER, voter.engine)
        return {"refiner": refiner, SECOND_VOTER: voter.model}

    def _judging(self) -> dict[str, Any]:
        """What the stages read of `judging`: a second voter counts by its weights, whatever it is called."""
        return plain(self._method.judging.model_copy(update={"second_voter": None}))

    def _judge(self, iteration: int, answered: Inputs, judges: dict[str, ModelRef], method: PairsMethod) -> StageCall:
        judging = {"judging": self._judging(), **self._stages.templates("judge")}
        search = method.search(self._method.search)
        shares_are_data = "judgements" in method.reads or self._learns_split(("response_no", "response_yes"))
        searched = "trees" in method.reads and not search.accepts_failing
        if searched and search.votes_asked == "until_decided" and not shares_are_data:
            judging["votes_asked"] = search.votes_asked
        return self._stages.call(JUDGEMENTS, iteration, answered, judges, judging)

    def _judged(
        self, iteration: int, answered: Inputs, judges: dict[str, ModelRef], method: PairsMethod, ahead: Ahead | None
    ) -> Inputs:
        """Judgements of the answers, and trees from those that fail where the method searches."""
        judge = self._judge(iteration, answered, judges, method)
        if "trees" not in method.reads:
            return {"judgements": self._stages.made(JUDGEMENTS, judge, ahead=ahead)}
        choosing: dict[str, Any] = {"max_negatives": self._method.pairs.max_negatives}
        if (following := self._config.prompts.following) is not None:
            choosing["band"] = [following.pass_above, following.pass_at_most]
        if self._method.pairs.roots == "whole":
            choosing["roots"] = "whole"
        choice = None if choosing["max_negatives"] is None else "method.pairs.max_negatives"
        inputs = self._stages.read_by_judges(answered["prompts"], self._method.judging)
        search = method.search(self._method.search)
        searched = searched_ahead(TREES, self._search(iteration, inputs, judges, search), judge, choosing, choice)
        judgements = self._stages.made(JUDGEMENTS, judge, then=searched, ahead=ahead)
        chosen = {**answered, "judgements": judgements}
        roots = {"roots": self._stages.run(NEGATIVES, iteration, chosen, config=choosing), **inputs}
        trees = self._stages.made(TREES, self._search(iteration, roots, judges, search), ahead=searched)
        return {"judgements": judgements, "trees": trees}

    def _search(self, iteration: int, inputs: Inputs, judges: dict[str, ModelRef], search: SearchConfig) -> StageCall:
        searching = {
            "judging": self._judging(),
            "refinement": plain(self._method.refinement),
            "search": plain(search),
            **self._stages.templates("judge", "refine"),
        }
        if search.votes_asked == "until_decided":
            shares_are_data = self._learns_split(("tree_no", "tree_yes"))
            searching["uses"] = Uses(accepted=True, best=False, shares=shares_are_data)._asdict()
        return self._stages.call(TREES, iteration, inputs, judges, searching)

    def _learns_split(self, quotas: tuple[str, str]) -> bool:
        """Whether the refiner learns judgements of these quotas, which are those whose votes were split."""
        sizes = plain(self._method.refiner_quotas())
        return self._config.refiner_learns_by() == "rft" and any(sizes[name] for name in quotas)

    def _scored(self, iteration: int, answered: Inputs, scorer: ModelRef) -> ArtifactRef:
        reads = {"judging": plain(self._method.judging.votes_alone()), **self._stages.templates("rubric")}
        return self._stages.run(RUBRIC_SCORES, iteration, answered, {"scorer": scorer}, reads)

    def _compared(self, iteration: int, known: Inputs, scorer: ModelRef) -> ArtifactRef:
        reads = {"judging": plain(self._method.judging.votes_alone()), **self._stages.templates("meta_judge")}
        inputs = {name: known[name] for name in ("prompts", "responses", "scores")}
        return self._stages.run(META_JUDGEMENTS, iteration, inputs, {"scorer": scorer}, reads)

    def _pairs(self, iteration: int, method: PairsMethod, known: Inputs) -> ArtifactRef:
        names = ("prompts", *method.reads, *(FURTHER + name for name in method.reads))
        inputs = {name: known[name] for name in names if name in known}
        reads: dict[str, Any] = {"pairs": plain(self._method.pairs.of_phase(method.name))}
        if method.version > 1:
            reads["version"] = method.version
        return self._stages.run(PAIRS, iteration, inputs, config=reads)

    def _refiner_examples(self, iteration: int, known: Inputs) -> ArtifactRef:
        quotas = self._method.refiner_quotas()
        read = ("prompts", "responses", "judgements", "trees", f"{FURTHER}responses", f"{FURTHER}judgements")
        sources: Inputs = {name: known[name] for name in read if name in known}
        if quotas.replay_fraction > 0 and "refiner" in (examples := self.warm_start_examples()):
            sources["replay"] = examples["refiner"]
        reads = {"refiner_data": plain(quotas), **self._stages.templates("judge", "refine")}
        return self._stages.run(REFINER_DATA, iteration, sources, config=reads)

    def _judge_pairs(self, iteration: int, known: Inputs) -> ArtifactRef:
        inputs = {name: known[name] for name in ("prompts", "responses", "scores", "comparisons")}
        reads = {"pairs": plain(self._method.pairs), **self._stages.templates("rubric")}
        return self._stages.run(JUDGE_PAIRS, iteration, inputs, config=reads)
