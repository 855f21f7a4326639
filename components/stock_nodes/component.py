"""TFX's own nodes, with the executors of `components.stock_nodes.executor`."""

from tfx import components as tfx_components
from tfx.components.schema_gen.import_schema_gen import component as import_schema_gen
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec, ExecutorClassSpec

from components.stock_nodes import executor


class StatisticsGen(tfx_components.StatisticsGen):
    """Stock StatisticsGen with checked files."""

    EXECUTOR_SPEC = BeamExecutorSpec(executor.StatisticsGenExecutor)


class SchemaGen(tfx_components.SchemaGen):
    """Stock SchemaGen with checked files."""

    EXECUTOR_SPEC = ExecutorClassSpec(executor.SchemaGenExecutor)


class ImportSchemaGen(import_schema_gen.ImportSchemaGen):
    """Stock ImportSchemaGen with checked files."""

    EXECUTOR_SPEC = ExecutorClassSpec(executor.ImportSchemaGenExecutor)
