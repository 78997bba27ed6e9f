"""The model card: what a model is, what it was trained on and how well it did, carried inside the model file."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any
from unicodedata import category

from ..base.errors import ModelFileError, reason
from .preprocessing import Field, Preprocessing

ARCHITECTURE_TITLES = {
    "conv_lstm": "Conv-LSTM",
    "mil_max": "MIL, max pooling",
    "mil_mean": "MIL, mean pooling",
    "mil_product": "MIL, product pooling",
    "mil_attention": "MIL, attention pooling",
    "cnn3d": "3D CNN",
    "laa950_logistic": "LAA%-950, logistic",
    "perc15_logistic": "Perc15, logistic",
}
"""The architectures' names for people, by their names in model cards."""

_FIELD = ("field", "margin_mm", "outside_hu")  # of the preprocessing
_LARGEST = 2.0**53  # integers up to here are exact wherever JSON is read
_LONGEST_NAME = 200
_MOST_MEASURES = 50
_MOST_CHANNELS = 4096
_MOST_UNITS = 16


@dataclass(frozen=True)
class OperatingPoint:
    """The probability at and above which a CT is called positive, and where that number comes from."""

    probability: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the operating point must be a probability, not {self.probability}")


@dataclass(frozen=True)
class Metric:
    """One measured figure with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    data: str


@dataclass(frozen=True)
class TrainingRange:
    """Where the training volumes lie in a few figures of a volume; ``likeness`` makes it and asks it.

    Attributes:
        measures: the figures' names.
        mean, spread: of each figure over the training volumes, and its standard deviation.
        precision: the inverse of the figures' correlation matrix, row by row.
        limit: the distance below which nearly all training volumes lie.
        volumes: how many these were.
    """

    measures: tuple[str, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    precision: tuple[float, ...]
    limit: float
    volumes: int

    def __post_init__(self) -> None:
        count = len(self.measures)
        if not 0 < count <= _MOST_MEASURES or {len(self.mean), len(self.spread)} != {count}:
            raise ValueError("the training range's figures don't fit one another")
        if len(self.precision) != count**2 or not all(width > 0 for width in self.spread):
            raise ValueError("the training range has no shape")


@dataclass(frozen=True)
class DiseaseMap:
    """A linear readout of a Conv-LSTM's hidden states and of density: how probable disease is at each place.

    The logit of a voxel of the network's grid is ``bias``, plus the sum of ``weights`` times the channels of the
    units' hidden states there, interpolated linearly within the slice, plus the two terms of density; its sigmoid is
    the probability.

    Attributes:
        units: the units that are read, the finest one first, such as ("asc1", "desc1", "asc2").
        weights: one for each channel, unit after unit.
        bias: logit.
        floor: probability, 0 to 1, from which a place is marked; the same for all CTs.
        learned_from: the cases with lesion maps, in one sentence.
        input_weight: of the network's own input in the voxel, 0 to 1.
        low_weight: of the share of the voxel's lung below -950 HU, 0 to 1. Maps without these two terms have 0.
    """

    units: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    floor: float
    learned_from: str
    input_weight: float = 0.0
    low_weight: float = 0.0

    def __post_init__(self) -> None:
        if not self.units or len(self.weights) > _MOST_CHANNELS:
            raise ValueError("the disease map has no shape")
        if not 0 < self.floor < 1:
            raise ValueError(f"the disease map's floor must be a probability between 0 and 1, not {self.floor}")


@dataclass(frozen=True)
class UnitWeights:
    """How the hidden states of one unit of a Conv-LSTM are summed into its class-weighted activation.

    The activation of a place is ``bias`` plus the sum of ``weights`` times the channels there. 0 is the mean of the
    lungs of healthy cases, 1 is reached by the strongest thousandth of the lungs of all cases.

    Attributes:
        unit: its name.
        weights: one for each channel, in proportion to the gradient of the model's logit by the channel.
        bias: what the sum starts from.
        floor: activation, 0 to 1, from which a place is marked; the same for all CTs.
    """

    unit: str
    weights: tuple[float, ...]
    bias: float
    floor: float

    def __post_init__(self) -> None:
        if not self.weights or len(self.weights) > _MOST_CHANNELS:
            raise ValueError(f"the class weights of {self.unit} have no shape")
        if not 0 < self.floor < 1:
            raise ValueError(f"the floor of a class-weighted activation must lie between 0 and 1, not {self.floor}")


@dataclass(frozen=True)
class ClassWeights:
    """The class-weighted activations of a Conv-LSTM, which need volume labels only.

    Attributes:
        units: those that have one.
        found_on: the cases, in one sentence.
    """

    units: tuple[UnitWeights, ...]
    found_on: str

    def __post_init__(self) -> None:
        if len({of.unit for of in self.units}) < len(self.units) or len(self.units) > _MOST_UNITS:
            raise ValueError("the class weights don't fit one another")


@dataclass(frozen=True)
class ModelCard:
    """Everything a user must know about a model, in the field's words.

    Attributes:
        name: short name, shown in lists.
        architecture: a name in ``ARCHITECTURE_TITLES``.
        width: kernels of the first unit (paper: 32, 64, 36).
        parameters: number of parameters, Keras counting.
        preprocessing: how a CT becomes this model's input.
        operating_point: the Youden point and its source.
        training_data: what it was trained on, in one sentence.
        trained_on: ISO date.
        intended_use: what it may be used for.
        limits: what it was never shown or checked on.
        demonstration: whether it only shows how the software works; its output must not be interpreted then.
        metrics: measured figures.
        citations: sources of method and data.
        temperature: the network's logit is divided by it (Guo et al. 2017); 1 leaves it as it is.
        training_range: where the training volumes lie, to tell a CT that is unlike them; None where it is not known.
        training_log: how it was trained, a sentence or two for each training, the first one first.
        disease_map: a readout of the hidden states, learned where lesion maps were known; None for a model without.
        class_weights: of the hidden states, by the gradient of the logit; None for a model without.
    """

    name: str
    architecture: str
    width: int
    parameters: int
    preprocessing: Preprocessing
    operating_point: OperatingPoint
    training_data: str
    trained_on: str
    intended_use: str
    limits: str
    demonstration: bool
    metrics: tuple[Metric, ...] = ()
    citations: tuple[str, ...] = field(default=())
    temperature: float = 1.0
    training_range: TrainingRange | None = None
    training_log: tuple[str, ...] = ()
    disease_map: DiseaseMap | None = None
    class_weights: ClassWeights | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"the temperature must be positive, not {self.temperature}")

    @property
    def weighs_low_density(self) -> bool:
        """Whether there is a disease map that reads the share of lung below -950 HU."""
        return self.disease_map is not None and self.disease_map.low_weight != 0

    def to_dict(self) -> dict[str, Any]:
        """The card as plain JSON values; field of view, disease map and class weights only where it has them."""
        values = dataclasses.asdict(self)
        for name in ("disease_map", "class_weights"):
            if values[name] is None:
                del values[name]
        if self.preprocessing.field is Field.WHOLE:
            for name in _FIELD:
                del values["preprocessing"][name]
        else:
            values["preprocessing"]["field"] = self.preprocessing.field.value
        return values

    def to_json(self) -> str:
        """The card as indented JSON, as model files and ``result.json`` hold it; ``from_json`` reads it."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card from its JSON text.

        Raises:
            ModelFileError: the text is not JSON, lacks a field, has an unknown one, one of the wrong kind, or a number
                or text that no card has.
        """
        try:
            raw = strict_json(text)
            preprocessing = _preprocessing(raw["preprocessing"])
            trained = raw.get("training_range")
            if trained is not None:
                names = ("measures", "mean", "spread", "precision")
                trained = TrainingRange(**{**trained, **{name: tuple(trained[name]) for name in names}})
            drawn = raw.get("disease_map")
            if drawn is not None:
                drawn = DiseaseMap(**{**drawn, **{name: tuple(drawn[name]) for name in ("units", "weights")}})
            weighted = _class_weights(raw.get("class_weights"))
            card = cls(
                **{
                    **raw,
                    "disease_map": drawn,
                    "class_weights": weighted,
                    "preprocessing": preprocessing,
                    "operating_point": OperatingPoint(**raw["operating_point"]),
                    "metrics": tuple(Metric(**m) for m in raw.get("metrics", ())),
                    "citations": _texts(raw, "citations"),
                    "training_range": trained,
                    "training_log": _texts(raw, "training_log"),  # files of earlier versions have none
                }
            )
            parts = (card, card.preprocessing, card.operating_point, *card.metrics, trained, drawn, weighted)
            if weighted is not None:
                parts = (*parts, *weighted.units)
            for part in filter(None, parts):
                _check_fields(part)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise ModelFileError(
                f"The model's card cannot be understood ({reason(error)}); "
                "ask its author for a file written by EmphysemaScanner."
            ) from error
        return card


def _preprocessing(raw: dict[str, Any]) -> Preprocessing:
    changed: dict[str, Any] = {"shape": tuple(raw["shape"])}
    if "field" in raw:
        changed["field"] = Field(raw["field"])
    return Preprocessing(**{**raw, **changed})


def _class_weights(raw: dict[str, Any] | None) -> ClassWeights | None:
    if raw is None:
        return None
    units = tuple(UnitWeights(**{**unit, "weights": tuple(unit["weights"])}) for unit in raw["units"])
    return ClassWeights(**{**raw, "units": units})


def _texts(raw: dict[str, Any], name: str) -> tuple[str, ...]:
    texts = raw.get(name, [])
    if not isinstance(texts, list):  # a text would become its letters
        raise TypeError(f"'{name}' is not a list")
    return tuple(texts)


def strict_json(text: str) -> Any:
    """JSON as its standard has it: no repeated names, of which readers choose differently, no NaN or infinity.

    Raises:
        ValueError, RecursionError: it is something else.
    """

    def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name occurs twice")
        return found

    def refused(number: str) -> None:
        raise ValueError(f"{number} is not a number")

    return json.loads(text, object_pairs_hook=unrepeated, parse_constant=refused)


def _check_fields(part: Any) -> None:
    """Raise TypeError or ValueError when a field of a dataclass that came from JSON holds what it cannot."""
    known: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "bool": (bool,),
        "float": (int, float),
        "float | None": (int, float, type(None)),
        "tuple[int, int, int]": (int,),
        "tuple[str, ...]": (str,),
        "tuple[float, ...]": (int, float),
    }
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        for one in value if isinstance(value, tuple) else (value,):
            allowed = known.get(str(f.type))
            if allowed and (not isinstance(one, allowed) or (isinstance(one, bool) and bool not in allowed)):
                raise TypeError(f"'{f.name}' is not of type {f.type}")
            if isinstance(one, (int, float)) and not (math.isfinite(one) and abs(one) < _LARGEST):
                raise ValueError(f"'{f.name}' is too large")
            if isinstance(one, str) and any(c not in "\n\t" and category(c) in ("Cc", "Cs") for c in one):
                raise ValueError(f"'{f.name}' holds characters that cannot be shown")
            if f.name in ("name", "architecture") and len(one) > _LONGEST_NAME:
                raise ValueError(f"'{f.name}' is longer than {_LONGEST_NAME} characters")
