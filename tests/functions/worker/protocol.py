"""The messages between a Functions host and its Python worker, as far as these tests speak them.

The worker library is handed its message classes, so these are real protobuf classes: strict about names and types, as
the host's are. There is no other end of a wire here, hence the field numbers are ours; names and types are the host's.
"""

from __future__ import annotations

from types import SimpleNamespace

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory

_PACKAGE = "AzureFunctionsRpcMessages"
_SCALARS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "sint64": descriptor_pb2.FieldDescriptorProto.TYPE_SINT64,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
}
_ENUMS = {
    "StatusResult": {"Status": ("Failure", "Success", "Cancelled")},
    "BindingInfo": {
        "Direction": ("in", "out", "inout"),
        "DataType": ("undefined", "string", "binary", "stream"),
    },
    "RpcRetryOptions": {"RetryStrategy": ("exponential_backoff", "fixed_delay")},
}
# field: a type, "type*" repeated, "type{}" a map from string, "type|" a member of the message's one oneof.
_MESSAGES: dict[str, dict[str, str]] = {
    "RpcException": {"source": "string", "stack_trace": "string", "message": "string"},
    "StatusResult": {"status": ".StatusResult.Status", "result": "string", "exception": ".RpcException"},
    "CollectionString": {"string": "string*"},
    "CollectionBytes": {"bytes": "bytes*"},
    "CollectionSInt64": {"sint64": "sint64*"},
    "TypedData": {
        "string": "string|",
        "json": "string|",
        "bytes": "bytes|",
        "int": "sint64|",
        "double": "double|",
        "collection_bytes": ".CollectionBytes|",
        "collection_string": ".CollectionString|",
        "collection_sint64": ".CollectionSInt64|",
    },
    "ParameterBinding": {"name": "string", "data": ".TypedData|rpc_data"},
    "BindingInfo": {
        "type": "string",
        "direction": ".BindingInfo.Direction",
        "data_type": ".BindingInfo.DataType",
    },
    "RpcRetryOptions": {
        "max_retry_count": "int32",
        "delay_interval": ".google.protobuf.Duration",
        "minimum_interval": ".google.protobuf.Duration",
        "maximum_interval": ".google.protobuf.Duration",
        "retry_strategy": ".RpcRetryOptions.RetryStrategy",
    },
    "RpcFunctionMetadata": {
        "name": "string",
        "directory": "string",
        "script_file": "string",
        "entry_point": "string",
        "bindings": ".BindingInfo{}",
        "is_proxy": "bool",
        "language": "string",
        "raw_bindings": "string*",
        "function_id": "string",
        "managed_dependency_enabled": "bool",
        "retry_options": ".RpcRetryOptions",
        "properties": "string{}",
    },
    "WorkerMetadata": {
        "runtime_name": "string",
        "runtime_version": "string",
        "worker_version": "string",
        "worker_bitness": "string",
        "custom_properties": "string{}",
    },
    "RpcTraceContext": {"trace_parent": "string", "trace_state": "string", "attributes": "string{}"},
    "RetryContext": {"retry_count": "int32", "max_retry_count": "int32", "exception": ".RpcException"},
    "WorkerInitRequest": {
        "host_version": "string",
        "capabilities": "string{}",
        "worker_directory": "string",
        "function_app_directory": "string",
    },
    "WorkerInitResponse": {
        "worker_version": "string",
        "capabilities": "string{}",
        "result": ".StatusResult",
        "worker_metadata": ".WorkerMetadata",
    },
    "FunctionsMetadataRequest": {"function_app_directory": "string"},
    "FunctionMetadataResponse": {
        "function_metadata_results": ".RpcFunctionMetadata*",
        "result": ".StatusResult",
        "use_default_metadata_indexing": "bool",
    },
    "FunctionLoadRequest": {"function_id": "string", "metadata": ".RpcFunctionMetadata"},
    "FunctionLoadResponse": {"function_id": "string", "result": ".StatusResult"},
    "InvocationRequest": {
        "invocation_id": "string",
        "function_id": "string",
        "input_data": ".ParameterBinding*",
        "trigger_metadata": ".TypedData{}",
        "trace_context": ".RpcTraceContext",
        "retry_context": ".RetryContext",
    },
    "InvocationResponse": {
        "invocation_id": "string",
        "output_data": ".ParameterBinding*",
        "result": ".StatusResult",
        "return_value": ".TypedData",
    },
}


def make_protocol() -> SimpleNamespace:
    """A namespace with one class a message, as the worker library expects it."""
    file = descriptor_pb2.FileDescriptorProto(name="host.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append("google/protobuf/duration.proto")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for enum, values in _ENUMS.get(name, {}).items():
            described = message.enum_type.add(name=enum)
            for number, value in enumerate(values):
                described.value.add(name=value, number=number)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            _add_field(message, field, kind, number)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles(["host.proto"], pool)
    return SimpleNamespace(**{name.removeprefix(f"{_PACKAGE}."): made for name, made in found.items()})


def _add_field(
    message: descriptor_pb2.DescriptorProto, name: str, kind: str, number: int
) -> descriptor_pb2.FieldDescriptorProto:
    optional = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    repeated = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    field = message.field.add(name=name, number=number, label=optional)
    if kind.endswith("*"):
        kind, field.label = kind[:-1], repeated
    elif kind.endswith("{}"):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", "string", 1)
        _add_field(entry, "value", kind[:-2], 2)
        kind, field.label = f".{message.name}.{entry.name}", repeated
    elif "|" in kind:
        kind, _, oneof = kind.partition("|")
        if not message.oneof_decl:
            message.oneof_decl.add(name=oneof or "data")
        field.oneof_index = 0
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        enum = kind.count(".") == 2 and not kind.endswith("Entry")
        field.type = field.TYPE_ENUM if enum else field.TYPE_MESSAGE
        field.type_name = kind if kind.startswith(".google") else f".{_PACKAGE}{kind}"
        if kind.startswith(".google"):
            field.type = field.TYPE_MESSAGE
    return field
