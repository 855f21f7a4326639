from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.mlmd_properties import plain_values


def test_plain_values_are_numbers_and_strings_without_bookkeeping() -> None:
    properties = {
        "tokens": mlmd.Value(int_value=3),
        "perplexity": mlmd.Value(double_value=1.5),
        "precision": mlmd.Value(string_value="int8"),
        "tfx_version": mlmd.Value(string_value="1.21.0"),
        "empty": mlmd.Value(),
    }
    assert plain_values(properties) == {"perplexity": 1.5, "precision": "int8", "tokens": 3}
