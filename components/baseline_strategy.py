"""Which model a candidate is compared with: the latest blessed one that is not the candidate itself."""

from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy
from tfx.types import artifact

CANDIDATE_KEY = "candidate"


class LatestOtherBlessedModelStrategy(latest_blessed_model_strategy.LatestBlessedModelStrategy):
    """TFX's latest blessed model, leaving out the candidate.

    Without this an identical second run would compare the (cached, blessed) candidate with itself: the Evaluator's
    inputs would differ from the first run's, and nothing from there on would be cached.
    """

    def resolve_artifacts(
        self, store: object, input_dict: dict[str, list[artifact.Artifact]]
    ) -> dict[str, list[artifact.Artifact]] | None:
        """Resolves `model` and `model_blessing`; the third channel, `candidate`, names the model to leave out."""
        candidates = input_dict[CANDIDATE_KEY]
        candidate_ids = {candidate.id for candidate in candidates}
        others = {
            "model": [model for model in input_dict["model"] if model.id not in candidate_ids],
            "model_blessing": input_dict["model_blessing"],
        }
        resolved = super().resolve_artifacts(store, others)
        return resolved and {**resolved, CANDIDATE_KEY: candidates}
