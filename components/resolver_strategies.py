"""Resolver strategies for the artifacts that a run is compared with: the latest that passed a gate, without its own.

If a run's own artifacts were not left out, an identical second run would be compared with itself. Its inputs would
differ from those of the first run, and no later node would be cached.
"""

from absl import logging
from etils import epath
from tfx.dsl.components.common import resolver
from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy
from tfx.types import artifact

from components.artifact_types import Artifacts
from components.mlmd_properties import CONTRACT, STATISTICS_ID

CANDIDATE_KEY = "candidate"


class LatestExistingBlessedModelStrategy(latest_blessed_model_strategy.LatestBlessedModelStrategy):
    """Strategy of TFX for the latest blessed model, without models whose folders were deleted."""

    def resolve_artifacts(self, store: object, input_dict: Artifacts) -> Artifacts | None:
        """Resolves `model` and `model_blessing`."""
        return super().resolve_artifacts(store, {**input_dict, "model": existing(input_dict["model"])})


class LatestOtherBlessedModelStrategy(LatestExistingBlessedModelStrategy):
    """The same without the candidate."""

    def resolve_artifacts(self, store: object, input_dict: Artifacts) -> Artifacts | None:
        """Resolves `model` and `model_blessing`; the third channel, `candidate`, holds the model to leave out."""
        candidates = input_dict[CANDIDATE_KEY]
        candidate_ids = {candidate.id for candidate in candidates}
        others = {
            "model": [model for model in input_dict["model"] if model.id not in candidate_ids],
            "model_blessing": input_dict["model_blessing"],
        }
        resolved = super().resolve_artifacts(store, others)
        return resolved and {**resolved, CANDIDATE_KEY: candidates}


def existing(artifacts: list[artifact.Artifact]) -> list[artifact.Artifact]:
    """Returns the artifacts whose folders exist; people delete the folder of an artifact that was damaged."""
    found = [item for item in artifacts if epath.Path(item.uri).exists()]
    if len(found) < len(artifacts):
        logging.info(
            "%d of %d earlier artifacts are left out: their folders are gone.",
            len(artifacts) - len(found),
            len(artifacts),
        )
    return found


class LatestOtherBlessedStatisticsStrategy(resolver.ResolverStrategy):
    """Strategy for the statistics of the latest data that passed an AnomalyGate, without the candidate's."""

    def __init__(self, contract: str):
        """Stores the contract; only data that passed this contract counts."""
        self._contract = contract

    def resolve_artifacts(self, store: object, input_dict: Artifacts) -> Artifacts | None:
        """Resolves `statistics`, an empty list if no data passed; `data_blessing` identifies the data that passed."""
        candidates = input_dict[CANDIDATE_KEY]
        candidate_ids = {candidate.id for candidate in candidates}
        others = [found for found in input_dict["statistics"] if found.id not in candidate_ids]
        statistics = {found.id: found for found in existing(others)}
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
