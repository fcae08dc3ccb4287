"""A model of every store: plain dictionaries and `transitions`, driven with random steps beside the store itself.

Prove a store of your own with it:

    def test_the_model(tmp_path: Path) -> None:
        prove(lambda name: MyStore(tmp_path / name))

Each series of steps is on data of its own, called `name`. A store that is durable is driven through two objects at
once, which are closed and made anew now and then. Every answer is compared with the model's, and after every step
every record; hypothesis shows the shortest series that it finds which a store answers wrongly.

An `InboxStore` is driven as such: deliveries are put in for a worker, taken, replayed and searched for, too.

A shared store has its own clock. So leases are long, or over before the next step, and times are compared to within
a few seconds; a time that must not change is compared exactly. Needs the `testing` extra.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores.base import Store
from airweave_webhooks.stores.inbox import InboxStore

if find_spec("hypothesis") is None:
    raise ConfigurationError(
        "airweave_webhooks.testing.model needs the `hypothesis` package: pip install 'airweave-webhooks[testing]'"
    )

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from airweave_webhooks.testing.inbox_model import InboxModel
from airweave_webhooks.testing.store_model import StoreModel

QUICK: Final = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
)
"""A few seconds for a store, the same steps each time."""
THOROUGH: Final = settings(QUICK, max_examples=400, stateful_step_count=60, derandomize=False)
"""Minutes, with other steps each time."""


def prove(make_store: Callable[[str], Store], how: settings = QUICK) -> None:
    """Drive stores with random steps, and compare them with the model.

    Args:
        make_store: makes a store that is not open; of one name always on the same data, empty at first.
        how: hypothesis's settings: `QUICK`, `THOROUGH`, or others.

    Raises:
        AssertionError: a store did what the model does not; hypothesis prints the steps.
    """
    kind = InboxModel if isinstance(make_store("model"), InboxStore) else StoreModel

    def make(_: object, name: str) -> Store:
        return make_store(name)

    model: Any = type("Model", (kind,), {"make_store": make})
    run_state_machine_as_test(model, settings=how)
