"""Apache Kafka on this machine with its locks on: TLS, users, certificates, an ACL for everything."""

from pathlib import Path
from typing import Final

from chassis.settings import Settings
from deploy.kafka.acls import apply, kept
from deploy.kafka.admin import AdminError
from deploy.kafka.certificates import Authority
from deploy.kafka.grants import ADMIN, BROKER, principals
from deploy.local.kafka import LocalKafka
from deploy.local.processes import free_port

_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_AUTHORIZER: Final = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"


class SecuredKafka(LocalKafka):
    """Lets in whom it knows, by password (SASL_SSL) or certificate (SSL). It is ready once the grants are made.

    Brokers and controllers know each other by certificate.
    """

    def __init__(self, java: str, jars: Path, folder: Path, log: Path | None = None) -> None:
        super().__init__(java, jars, folder, log)
        self.description = f"{self.description}, with TLS, users and ACLs"
        self.certified_port = free_port()
        self.authority = Authority(self.folder / "tls")
        self._own = self.authority.issue(BROKER, "127.0.0.1", "localhost")
        self.certificates = {name: self.authority.issue(name) for name in principals()}
        self.passwords = self.folder / "passwords"

    def is_answering(self) -> bool:
        """Whether its admin is let in, and has made users and grants."""
        try:
            apply(Settings.model_validate(self.admin()), self.passwords)
        except AdminError:
            return False
        return True

    def admin(self) -> dict[str, str]:
        """The settings of its super user."""
        return self.by_password(ADMIN)

    def by_password(self, user: str) -> dict[str, str]:
        """A user's settings with SASL/SCRAM over TLS."""
        return {
            "kafka_bootstrap_servers": self.bootstrap_servers,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_username": user,
            "kafka_password": kept(self.passwords, user),
            "kafka_ssl_cafile": str(self.authority.certificate),
        }

    def by_certificate(self, user: str) -> dict[str, str]:
        """A user's settings with mTLS."""
        return {
            "kafka_bootstrap_servers": f"127.0.0.1:{self.certified_port}",
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": str(self.authority.certificate),
            "kafka_ssl_certfile": str(self.certificates[user]),
        }

    def first_users(self) -> list[str]:
        """The super user, who makes the others."""
        secret = kept(self.passwords, ADMIN)
        return ["--add-scram", f"SCRAM-SHA-512=[name={ADMIN},password={secret}]"]

    def listeners(self) -> str:
        """One port for passwords, one for certificates; nothing is allowed that is not granted."""
        controller = self.controller_port
        return f"""\
listeners=CLIENTS://127.0.0.1:{self.port},CERTIFIED://127.0.0.1:{self.certified_port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{self.port},CERTIFIED://127.0.0.1:{self.certified_port}
listener.security.protocol.map=CLIENTS:SASL_SSL,CERTIFIED:SSL,CONTROLLER:SSL
inter.broker.listener.name=CERTIFIED
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config={_SCRAM} required;
listener.name.certified.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={self._own}
ssl.truststore.type=PEM
ssl.truststore.location={self.authority.certificate}
ssl.principal.mapping.rules=RULE:^CN=([a-z-]+)$/$1/
authorizer.class.name={_AUTHORIZER}
allow.everyone.if.no.acl.found=false
super.users=User:{BROKER};User:{ADMIN}
"""
