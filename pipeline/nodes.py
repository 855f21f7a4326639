"""Ids of the DAG's nodes in the order in which they run; importing this module does not load TFX."""

NODES = (
    "Contract",
    "TextExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "LatestBlessedData",
    "ExampleValidator",
    "AnomalyGate",
    "Transform",
    "TokenContract",
    "TokenStatistics",
    "LatestBlessedTokens",
    "TokenValidator",
    "TokenGate",
    "LengthGate",  # only for instructions and preferences
    "WarmStartModel",  # only with `model.warm_start`
    "Trainer",
    "LatestBlessedModel",
    "TaskEvaluator",
    "Evaluator",
    "TFLiteConverter",
    "TFLiteEvaluator",
    "Report",
    "Pusher",
)
# Nodes whose outputs are artifacts of earlier runs.
RESOLVERS = ("LatestBlessedData", "LatestBlessedTokens", "WarmStartModel", "LatestBlessedModel")
