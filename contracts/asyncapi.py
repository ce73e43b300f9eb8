"""The AsyncAPI 3.0 document of what is on Kafka, written from `topics.py`."""

from typing import Any

from contracts.message import Body
from contracts.topics import TOPICS, Topic

Json = dict[str, Any]
_SCHEMAS = "#/components/schemas/"
_HEADERS: Json = {
    "type": "object",
    "description": "CloudEvents 1.0, Kafka protocol binding, binary content mode.",
    "required": ["ce_id", "ce_source", "ce_type", "ce_specversion", "ce_time", "ce_subject"],
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "format": "uuid"},
        "ce_source": {"type": "string", "examples": ["hostler/sync"]},
        "ce_type": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_subject": {"type": "string", "description": "Also the record's key."},
        "ce_projectid": {"type": "string"},
        "ce_account": {"type": "string"},
        "ce_actor": {"type": "string"},
        "ce_operationid": {"type": "string", "format": "uuid"},
        "ce_requestid": {"type": "string"},
        "ce_hostlersig": {
            "type": "string",
            "description": "The gateway's signature of a command: key id, a dot, Ed25519.",
        },
        "ce_address": {"type": "string", "description": "Where the request came from."},
        "ce_client": {"type": "string", "description": "What its program calls itself."},
        "ce_credential": {"type": "string", "examples": ["key:ID", "session:ID"]},
        "ce_permission": {"type": "string", "examples": ["vm.reboot"]},
        "traceparent": {"type": "string", "description": "W3C trace context."},
    },
}


def document() -> Json:
    """The whole document; the same each time, so that it can be committed and compared."""
    schemas: Json = {}
    messages = {body.wire_name(): _message(body, schemas) for t in TOPICS for body in t.carries}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Hostler on Kafka",
            "version": "1.0.0",
            "description": "Commands to VMs and what happens to them. "
            "Topics carry no version, message types do. The key is the subject's id: order per VM.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {name: said for topic in TOPICS for name, said in _operations(topic)},
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _message(body: type[Body], schemas: Json) -> Json:
    name = body.wire_name()
    schema = body.model_json_schema(ref_template=_SCHEMAS + "{model}", mode="serialization")
    schemas.update(schema.pop("$defs", {}))
    schema["properties"].pop("type", None)
    schema["required"] = [field for field in schema.get("required", []) if field != "type"]
    schemas[name] = schema
    return {
        "name": name,
        "title": name,
        "summary": (body.__doc__ or "").partition("\n")[0],
        "contentType": "application/json",
        "headers": _HEADERS,
        "payload": {"$ref": _SCHEMAS + name},
    }


def _channel(topic: Topic) -> Json:
    names = [body.wire_name() for body in topic.carries]
    retention = int(topic.retention.total_seconds() * 1000) if topic.retention else -1
    return {
        "address": topic.name,
        "description": topic.says,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    "retention.ms": retention,
                },
            }
        },
    }


def _operations(topic: Topic) -> list[tuple[str, Json]]:
    channel = {"$ref": f"#/channels/{topic.name}"}
    said = [
        (f"{who}.sends.{topic.name}", {"action": "send", "channel": channel})
        for who in topic.producers
    ]
    heard = [
        (f"{who}.receives.{topic.name}", {"action": "receive", "channel": channel})
        for who in topic.consumers
    ]
    return said + heard
