"""Creates the topics of `contracts/topics.py` on Kafka: `python -m deploy.topics`.

Run it as often as you like: what is missing is created, what has too few partitions gets more, and
a setting that differs is put right. It never deletes.
"""

import asyncio
import sys
from contextlib import suppress
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.new_partitions import NewPartitions
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, TopicAlreadyExistsError, for_code

from chassis.kafka import connection
from chassis.settings import Settings
from contracts.topics import TOPICS, Topic

PATIENCE_SECONDS = 60


def configs_of(topic: Topic) -> dict[str, str]:
    """The topic's settings, in Kafka's names."""
    retention = int(topic.retention.total_seconds() * 1000) if topic.retention else -1
    return {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": str(retention),
    }


async def create(settings: Settings) -> list[str]:
    """Bring Kafka's topics in line with the contracts; what was done, in sentences.

    New topics get three replicas, or as many as there are brokers.
    """
    admin = AIOKafkaAdminClient(**connection(settings), client_id="hostler-topics")
    await admin.start()
    try:
        present = set(await admin.list_topics())
        brokers = len((await admin.describe_cluster())["brokers"])
        done = [await _ensure(admin, topic, present, min(brokers, 3)) for topic in TOPICS]
    finally:
        await admin.close()
    return [sentence for sentence in done if sentence]


async def _ensure(
    admin: AIOKafkaAdminClient, topic: Topic, present: set[str], replicas: int
) -> str:
    if topic.name not in present:
        return await _create(admin, topic, replicas)
    described = (await admin.describe_topics([topic.name]))[0]
    if 0 < len(described["partitions"]) < topic.partitions:
        await admin.create_partitions({topic.name: NewPartitions(topic.partitions)})
        return f"{topic.name}: now has {topic.partitions} partitions"
    wanted = ConfigResource(ConfigResourceType.TOPIC, topic.name, configs_of(topic))
    with suppress(IncompatibleBrokerVersion):  # the embedded broker forgets its topics anyway
        await admin.alter_configs([wanted])
    return ""


async def _create(admin: AIOKafkaAdminClient, topic: Topic, replicas: int) -> str:
    wanted = NewTopic(topic.name, topic.partitions, replicas, topic_configs=configs_of(topic))
    answer: Any = await admin.create_topics([wanted])
    for _name, code, *_message in answer.topic_errors:
        if for_code(code) is TopicAlreadyExistsError:
            return ""
        if code:
            raise for_code(code)(f"{topic.name} was refused")
    return f"{topic.name}: created with {topic.partitions} partitions"


async def create_patiently(settings: Settings) -> list[str]:
    """The same, waiting up to a minute for Kafka to be there."""
    for _ in range(PATIENCE_SECONDS):
        try:
            return await create(settings)
        except (KafkaError, OSError) as error:
            print(f"Kafka at {settings.kafka_bootstrap_servers}: {error}", file=sys.stderr)
            await asyncio.sleep(1)
    return await create(settings)


def main() -> None:
    """Create the topics as the environment says."""
    for sentence in asyncio.run(create_patiently(Settings())):
        print(sentence)


if __name__ == "__main__":
    main()
