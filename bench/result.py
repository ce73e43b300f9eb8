"""What a row measured: figures, what they are compared with, and the goals."""

from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One number that was measured."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Goal:
    """A bound and what was measured of it. `value` is a ratio wherever there is a floor."""

    says: str
    value: float
    bound: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the value keeps the bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


@dataclass(frozen=True)
class Series:
    """Points of a chart: a line per name over a common x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """What is drawn of a row."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    logarithmic: bool = False


@dataclass
class Measured:
    """One row of the table. `limit` says what a missed goal's limit is made of, as profiled."""

    row: str
    against: str
    figures: list[Figure] = field(default_factory=list[Figure])
    goals: list[Goal] = field(default_factory=list[Goal])
    charts: list[Chart] = field(default_factory=list[Chart])
    limit: str = ""

    def figure(self, name: str, value: float, unit: str) -> float:
        """Note a figure; its value."""
        self.figures.append(Figure(name, round(value, 3), unit))
        return value

    def at_most(self, says: str, value: float, bound: float) -> None:
        """Note a goal that is met at or below `bound`."""
        self.goals.append(Goal(says, round(value, 3), bound, at_most=True))

    def at_least(self, says: str, value: float, bound: float) -> None:
        """Note a goal that is met at or above `bound`."""
        self.goals.append(Goal(says, round(value, 3), bound, at_most=False))


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of them lie; the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def middle(values: list[float]) -> float:
    """The median of repeated measurements."""
    return median(values)
