# Public names, each imported on first use.
from .bundle import (
    Manifest as Manifest,
    read_manifest as read_manifest,
    read_training_labels as read_training_labels,
    verify_bundle as verify_bundle,
)
from .class_names import (
    find_nearest as find_nearest,
    join_code as join_code,
    parse_numbers as parse_numbers,
    suggest_nearest as suggest_nearest,
)
from .data.dataset import (
    Example as Example,
    fingerprint as fingerprint,
    folds as folds,
    split as split,
)
from .data.feature_cache import FeatureCache as FeatureCache
from .data.near_duplicates import (
    find_near_duplicates as find_near_duplicates,
    merge_groups as merge_groups,
)
from .errors import (
    BundleError as BundleError,
    ModelError as ModelError,
    TaxonomyError as TaxonomyError,
    TrainingError as TrainingError,
    WeightsError as WeightsError,
)
from .evaluation.comparison import (
    Comparison as Comparison,
    ComparisonOutcome as ComparisonOutcome,
    GateThresholds as GateThresholds,
    compare_bundles as compare_bundles,
)
from .evaluation.evaluation import (
    UNTRAINED_PREFIX as UNTRAINED_PREFIX,
    Evaluation as Evaluation,
    evaluate as evaluate,
    group_untrained as group_untrained,
)
from .evaluation.int8_conversion import convert as convert
from .evaluation.labels import (
    InspectedImage as InspectedImage,
    LabelIssue as LabelIssue,
    LearningCurve as LearningCurve,
    find_label_issues as find_label_issues,
    find_mixed_specimens as find_mixed_specimens,
    fit_learning_curve as fit_learning_curve,
    inspect_labels as inspect_labels,
    predict_out_of_sample as predict_out_of_sample,
)
from .evaluation.leave_one_class_out import leave_out as leave_out
from .evaluation.metrics import size_kappa as size_kappa
from .evaluation.paired import (
    PairedEvaluation as PairedEvaluation,
    PairedTestSet as PairedTestSet,
    evaluate_pair as evaluate_pair,
)
from .framing import Field as Field
from .inference.classifier import Classifier as Classifier
from .inference.prediction import (
    AnswerFacts as AnswerFacts,
    Prediction as Prediction,
)
from .networks.pretrained import (
    fetch_weights as fetch_weights,
    has_weights as has_weights,
)
from .ood.appearance import (
    compute_oddness as compute_oddness,
    describe_texture as describe_texture,
    embed_field as embed_field,
    group_alike as group_alike,
    project_embeddings as project_embeddings,
    select_diverse as select_diverse,
)
from .ood.conformal import (
    OodResult as OodResult,
    alarm_rate_in_words as alarm_rate_in_words,
    alarm_rate_warnings as alarm_rate_warnings,
)
from .progress import Progress as Progress
from .runtime.conversion import converting_apart as converting_apart
from .runtime.engines import (
    choose_engine as choose_engine,
    release_memory as release_memory,
    use_network_threads as use_network_threads,
)
from .statistics import (
    Estimate as Estimate,
    agreement_interval as agreement_interval,
    upper_bound as upper_bound,
    wilson as wilson,
)
from .taxonomy import (
    Size as Size,
    Subtype as Subtype,
    Taxonomy as Taxonomy,
    default_taxonomy as default_taxonomy,
    load_taxonomy as load_taxonomy,
    taxonomy_from as taxonomy_from,
)
from .taxonomy_draft import (
    SubtypeDraft as SubtypeDraft,
    TaxonomyDraft as TaxonomyDraft,
    draft_from_taxonomy as draft_from_taxonomy,
    format_taxonomy as format_taxonomy,
    has_several_subtypes as has_several_subtypes,
    propose_draft as propose_draft,
)
from .training.config import (
    TrainingConfig as TrainingConfig,
    quick_config as quick_config,
)
from .training.distributed import (
    SINGLE_PROCESS as SINGLE_PROCESS,
    ProcessGroup as ProcessGroup,
    init_process_group as init_process_group,
)
from .training.train import train as train
