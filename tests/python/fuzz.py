"""Calls every unary method of a server with messages made up from its own reflection, and judges how it fails.

Usage: fuzz.py SERVER BUF [EXAMPLES]

SERVER is the program syft-endpoints, BUF the program buf, EXAMPLES the number of calls of each method. All runs make
the same calls. A call may be refused, but for a reason that the API has; nothing that a client sends is the server's
fault.
"""

import functools
import signal
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor as Field
from google.rpc import error_details_pb2 as details
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from space import ADMIN_KEY, Space, fill_searched, started_server

EXAMPLES = 60
CALL_SECONDS = 30
# A Struct holds Structs.
DEPTH = 4
# What has these codes is no refusal.
FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# What strings mean something to the space that is filled below, by the name of their field.
WORDS = {
    "slug": ["legal-qa", "syft-docs", "new-one"],
    "endpoint_slug": ["legal-qa", "syft-docs"],
    "dataset": ["law", "syft-docs"],
    "name": ["law", "syft-docs", "sentences", "new"],
    "dtype": ["local", "extractive"],
    "policy_type": ["access", "rate_limit"],
    "text": ["What is the copyright term?"],
    "content": ["What is the copyright term?"],
    "role": ["user", "system", "assistant"],
    "paths": ["name", "summary", "description", "tags", "published", "configuration"],
    "email": ["amy@example.org"],
    "page_token": [""],
    "request_id": ["5e1f0a52-6f0b-4d8e-9d1e-0c6a2b1d9c11"],
}
CONFIGURATIONS = [{}, {"limit": "5/m"}, {"allowed_users": ["*"]}, {"denied_users": ["eve@*"]}]


def main(server, buf, examples=EXAMPLES):
    # Stopped from outside, the server must not outlive us.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with (
        tempfile.TemporaryDirectory(prefix="syft-fuzz-") as folder,
        started_server(server, folder) as (address, log),
    ):
        fill_searched(space := Space(buf, address))
        for kind in ("dataset", "model"):
            listed = space.call(f"{kind.title()}Service/List{kind.title()}s", {})[f"{kind}s"]
            WORDS[f"{kind}_id"] = [found["id"] for found in listed]
        with grpc.insecure_channel(address) as channel:
            outcomes = [passes(channel, method, int(examples)) for method in methods(channel)]
        if not outcomes or not all(outcomes):
            print(f"--- the server's log:\n{log.read_text(errors='replace')}")
    print(f"{outcomes.count(True)} passed, {outcomes.count(False)} failed")
    sys.exit(0 if outcomes and all(outcomes) else 1)


def methods(channel):
    """The unary methods of the server's services, those that delete last."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    services = [pool.FindServiceByName(name) for name in database.get_services() if name.startswith("syft.")]
    found = [method for service in services for method in service.methods]
    unary = [method for method in found if not (method.client_streaming or method.server_streaming)]
    return sorted(unary, key=lambda method: (method.name.startswith(("Delete", "Revoke")), method.full_name))


def passes(channel, method, examples):
    """Calls a method again and again, prints a line on it, and says whether it passed."""
    service = method.containing_service.full_name
    answer = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary(
        f"/{service}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    codes = {}

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck]
    )
    @given(messages(method.input_type, tame=True) | messages(method.input_type, tame=False))
    def run(message):
        code = judge(call, message)
        codes[code] = codes.get(code, 0) + 1

    try:
        run()
    except Exception as error:  # Whatever it is, it comes with the message that Hypothesis found for it.
        print(f"FAILED  {service}/{method.name}", repr(error), *getattr(error, "__notes__", []), sep="\n", flush=True)
        return False
    told = ", ".join(f"{count} {code}" for code, count in sorted(codes.items()))
    print(f"ok      {service}/{method.name}: {told}", flush=True)
    return True


def judge(call, message):
    """Makes a call and returns the name of its code, unless it failed in a way that it must not."""
    try:
        call(message, metadata=[("authorization", f"Bearer {ADMIN_KEY}")], timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        assert error.code() not in FAULTS, error
        status = rpc_status.from_call(error)
        assert status is not None, f"no details: {error}"
        [info] = unpacked(status, details.ErrorInfo)
        assert (info.domain, bool(info.reason)) == ("space.syft", True), error
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            violations = [
                violation for found in unpacked(status, details.BadRequest) for violation in found.field_violations
            ]
            assert violations and all(violation.description for violation in violations), error
        return error.code().name
    return "OK"


def unpacked(status, kind):
    return [kind.FromString(packed.value) for packed in status.details if packed.Is(kind.DESCRIPTOR)]


@functools.cache
def messages(descriptor, tame, depth=DEPTH):
    """Makes messages of a type: tame ones, which may well be accepted, or any."""
    kind = message_factory.GetMessageClass(descriptor)
    if tame and descriptor.full_name == "google.protobuf.Struct":
        return st.sampled_from(CONFIGURATIONS).map(lambda found: json_format.ParseDict(found, kind()))
    # Of the fields of a `oneof` the last one that is set wins, as everywhere.
    fields = {
        field.name: values(field, tame, depth) for field in descriptor.fields if depth > 0 or field.message_type is None
    }
    # What a tame message needs is not known here: it has its strings and messages, and of the rest some.
    needed = {
        name: fields.pop(name)
        for name, field in descriptor.fields_by_name.items()
        if name in fields and tame and not field.containing_oneof and (field.name in WORDS or field.message_type)
    }
    return st.fixed_dictionaries(needed, optional=fields).map(lambda found: kind(**found))


def values(field, tame, depth):
    """Makes what a message may have in a field."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        names = field.message_type.fields_by_name
        pairs = st.tuples(single(names["key"], tame, depth), single(names["value"], tame, depth))
        return st.lists(pairs, max_size=3).map(dict)
    if field.is_repeated:
        return st.lists(single(field, tame, depth), min_size=int(tame), max_size=3)
    return single(field, tame, depth)


def single(field, tame, depth):
    if field.type == Field.TYPE_MESSAGE:
        return messages(field.message_type, tame, depth - 1)
    if field.type == Field.TYPE_ENUM:
        known = st.sampled_from([value.number for value in field.enum_type.values])
        # Enums are open: numbers without a name may come.
        return known if tame else known | st.integers(-1, 99)
    if field.type == Field.TYPE_STRING and field.name in WORDS:
        words = st.sampled_from(WORDS[field.name])
        return words if tame else words | st.text(max_size=20)
    return TAME.get(field.type, ANY[field.type]) if tame else ANY[field.type]


ANY = {
    Field.TYPE_STRING: st.text(max_size=20) | st.uuids().map(str),
    Field.TYPE_BYTES: st.binary(max_size=20),
    Field.TYPE_BOOL: st.booleans(),
    Field.TYPE_DOUBLE: st.floats() | st.floats(-1, 2),
    Field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    Field.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
}
TAME = {
    Field.TYPE_STRING: st.text("abc", min_size=3, max_size=9),
    Field.TYPE_DOUBLE: st.floats(0, 1),
    Field.TYPE_INT32: st.integers(1, 9),
    Field.TYPE_INT64: st.integers(1, 9),
}


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in (3, 4) else sys.exit(__doc__)
