from evals.candidates import ask_for
from evals.models import Candidate

ITEM = {"input": "Where is order FH-1?"}


def test_scripted_model_is_asked_with_the_trial_as_its_seed_so_that_trials_can_differ():
    candidate = Candidate(kind="model", model="demo/brisk", sampling={"temperature": 0.2})
    assert ask_for(candidate, ITEM, None, trial=2).sampling == {"seed": 2, "temperature": 0.2}


def test_seed_that_was_chosen_stays_and_other_models_get_none():
    chosen = Candidate(kind="model", model="demo/brisk", sampling={"seed": 7})
    assert ask_for(chosen, ITEM, None, trial=2).sampling == {"seed": 7}
    real = Candidate(kind="model", model="gpt-4o", sampling={"temperature": 0.2})
    assert ask_for(real, ITEM, None, trial=2).sampling == {"temperature": 0.2}
