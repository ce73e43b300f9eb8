"""What a create holds that is the VM's alone: sealed here, so that only the provisioner can read it."""

import base64
import hmac
from uuid import UUID

from chassis.problems import invalid
from chassis.sealing import PrivateKeys, PublicKey, derived
from contracts.vm.commands import Create
from contracts.vm.fields import Sealed
from services.gateway.identity.sealing import derive


class Sealer:
    """Seals `user_data` to the provisioner's public key, and marks it with a keyed digest."""

    def __init__(self, public_key: PublicKey, digest_key: bytes) -> None:
        self.public_key = public_key
        self._digest_key = digest_key

    def seal(self, create: Create, vm_id: UUID, operation_id: UUID) -> Create:
        """The create as it is said: bound to its VM and operation."""
        if create.user_data is None:
            return create
        plain = base64.b64decode(create.user_data)
        sealed = Sealed(
            box=self.public_key.seal(plain, Sealed.binding(vm_id, operation_id)),
            length=len(plain),
            digest=hmac.digest(self._digest_key, plain, "sha256").hex(),
        )
        return create.model_copy(update={"user_data": None, "sealed_user_data": sealed})


def require_open(create: Create) -> None:
    """A 400 for what callers have no business to send: a box may be somebody else's."""
    if create.sealed_user_data is not None:
        raise invalid("body.sealed_user_data", "Send user_data; it is sealed here.")


def sealer(public_key: str | None, internal_secret: str) -> Sealer:
    """With the key that is given, else with the one that follows from the internal secret."""
    if public_key is not None:
        key = PublicKey.read(public_key)
    else:
        key = PrivateKeys([derived(internal_secret)]).public[0]
    return Sealer(key, derive(internal_secret, "user data digests"))
