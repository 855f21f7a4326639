"""Executors of TFX's own nodes, which check and record the files of artifacts, see `components.integrity`."""

from tfx.components.schema_gen import executor as schema_gen
from tfx.components.schema_gen.import_schema_gen import executor as import_schema_gen
from tfx.components.statistics_gen import executor as statistics_gen

from components.integrity import checked


class StatisticsGenExecutor(statistics_gen.Executor):
    """Executor of StatisticsGen."""

    Do = checked(statistics_gen.Executor.Do)


class SchemaGenExecutor(schema_gen.Executor):
    """Executor of SchemaGen."""

    Do = checked(schema_gen.Executor.Do)


class ImportSchemaGenExecutor(import_schema_gen.Executor):
    """Executor of ImportSchemaGen."""

    Do = checked(import_schema_gen.Executor.Do)
