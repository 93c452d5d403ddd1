# Public names, each imported on first use.
from .label_suggestions import (
    Suggestion as Suggestion,
    suggest as suggest,
    Cleaned as Cleaned,
    clean_labels as clean_labels,
    send_back as send_back,
)
from .candidate import (
    get_training_config as get_training_config,
    retrain as retrain,
)
from .model_card import (
    estimate as estimate,
    save_card as save_card,
    save_record as save_record,
    write_figures as write_figures,
)
from .features import (
    Filled as Filled,
    fill_features as fill_features,
    Rescoring as Rescoring,
    rescore as rescore,
)
from .gate import (
    Demands as Demands,
    Gate as Gate,
    Outcome as Outcome,
    evaluate_candidate as evaluate_candidate,
    load_outcome as load_outcome,
)
from .impact import (
    Impact as Impact,
    compute_impact as compute_impact,
    format_headline as format_headline,
    list_sentences as list_sentences,
    save_impact as save_impact,
)
from .pseudo_labels import (
    PseudoLabelled as PseudoLabelled,
    select_pseudo_labels as select_pseudo_labels,
)
from .reprocessing import (
    Again as Again,
    Role as Role,
    build_judge as build_judge,
    judge_patiently as judge_patiently,
    reprocess as reprocess,
)
from .training_set import (
    Collected as Collected,
    collect as collect,
    list_gaps as list_gaps,
)
