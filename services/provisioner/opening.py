"""What was sealed for the provisioner, opened right before the cloud is called with it."""

import base64
from uuid import UUID

from chassis.errors import Retry, Terminal
from chassis.sealing import BrokenBoxError, NoKeyError, PrivateKeys, derived, raw_key
from contracts.errors import ErrorCode
from contracts.vm.commands import Create, VmCommand
from contracts.vm.fields import Sealed
from services.provisioner.settings import ProvisionerSettings


def private_keys(settings: ProvisionerSettings) -> PrivateKeys:
    """Those that are given, and, behind them, the one that follows from the internal secret."""
    given: list[str] = []
    if settings.sealing_keys is not None:
        given += settings.sealing_keys.get_secret_value().replace(",", " ").split()
    if settings.sealing_keys_file is not None:
        given += settings.sealing_keys_file.read_text().replace(",", " ").split()
    secret = settings.internal_secret.get_secret_value()
    return PrivateKeys([raw_key(each) for each in given] + ([derived(secret)] if secret else []))


def opened(command: VmCommand, keys: PrivateKeys, vm_id: UUID, operation_id: UUID) -> VmCommand:
    """The command as the cloud is to have it. What came in the clear, as it once did, stays so.

    Retry while the key is missing: it may be put back until the deadline. Terminal if it is not
    what was sealed for this operation.
    """
    if not isinstance(command, Create) or command.sealed_user_data is None:
        return command
    try:
        plain = keys.open(command.sealed_user_data.box, Sealed.binding(vm_id, operation_id))
    except NoKeyError as error:
        raise Retry(ErrorCode.UNAVAILABLE, f"The user_data cannot be opened: {error}.") from error
    except BrokenBoxError as error:
        raise Terminal(ErrorCode.INVALID, f"The user_data does not open: {error}.") from error
    user_data = base64.b64encode(plain).decode()
    return command.model_copy(update={"user_data": user_data, "sealed_user_data": None})
