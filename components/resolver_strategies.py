"""Resolves the artifacts that a run is compared with: the latest that passed their gate, other than its own.

Without leaving out its own, an identical second run would be compared with itself: inputs would differ from the first
run's, and nothing from there on would be cached.
"""

from tfx.dsl.components.common import resolver
from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy

from components.artifact_types import Artifacts
from components.mlmd_properties import CONTRACT, STATISTICS_ID

CANDIDATE_KEY = "candidate"


class LatestOtherBlessedModelStrategy(latest_blessed_model_strategy.LatestBlessedModelStrategy):
    """TFX's latest blessed model, leaving out the candidate."""

    def resolve_artifacts(self, store: object, input_dict: Artifacts) -> Artifacts | None:
        """Resolves `model` and `model_blessing`; the third channel, `candidate`, names the model to leave out."""
        candidates = input_dict[CANDIDATE_KEY]
        candidate_ids = {candidate.id for candidate in candidates}
        others = {
            "model": [model for model in input_dict["model"] if model.id not in candidate_ids],
            "model_blessing": input_dict["model_blessing"],
        }
        resolved = super().resolve_artifacts(store, others)
        return resolved and {**resolved, CANDIDATE_KEY: candidates}


class LatestOtherBlessedStatisticsStrategy(resolver.ResolverStrategy):
    """The statistics of the latest data that passed an AnomalyGate, leaving out the candidate's."""

    def __init__(self, contract: str):
        """Looks only at what passed by this contract."""
        self._contract = contract

    def resolve_artifacts(self, store: object, input_dict: Artifacts) -> Artifacts | None:
        """Resolves `statistics`, to none where there are none; `data_blessing` names those that passed."""
        candidates = input_dict[CANDIDATE_KEY]
        candidate_ids = {candidate.id for candidate in candidates}
        statistics = {one.id: one for one in input_dict["statistics"] if one.id not in candidate_ids}
        blessed = [
            statistics[blessing.get_int_custom_property(STATISTICS_ID)]
            for blessing in sorted(input_dict["data_blessing"], key=lambda blessing: blessing.id)
            if blessing.get_string_custom_property(CONTRACT) == self._contract
            and blessing.get_int_custom_property(STATISTICS_ID) in statistics
        ]
        return {
            "statistics": blessed[-1:],
            "data_blessing": [],
            CANDIDATE_KEY: candidates,
        }
