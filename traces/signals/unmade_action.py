"""The agent says that it did something, and no call that could have done it succeeded before."""

import re

from traces.acts import Act, Run, canonical
from traces.result_errors import error_in, shorten
from traces.signals.base import MAX_EACH, Detector, Limits, Suspicion, needs_calls, needs_words

# What may be claimed, in past forms -> parts of the names, or of the arguments, of calls that do it; *: any call that is not a
# mere look.
FAMILIES = (
    (r"cancell?ed|voided|terminated|unsubscribed", "cancel void terminat unsubscri stop delete refund"),
    (
        r"refunded|reimbursed|(?:issued|processed) (?:a|the|your) (?:full |partial )?refund",
        "refund reimburs credit return cancel payment chargeback",
    ),
    (
        r"(?:processed|initiated|started|arranged|set up) (?:a|the|your) return|returned (?:the|your)",
        "return rma refund exchange",
    ),
    (
        r"exchanged|replaced|(?:processed|initiated|arranged) (?:an|the|your) exchange",
        "exchange replac swap reship",
    ),
    (
        r"updated|changed|modified|corrected|edited|adjusted|amended|switched|upgraded|downgraded",
        "updat chang modif edit set patch put save correct adjust amend switch upgrad exchange write add",
    ),
    (
        r"sent|emailed|e-mailed|mailed|texted|forwarded|notified",
        "send mail messag notif sms text forward post slack report",
    ),
    (
        r"booked|reserved|scheduled|rescheduled",
        "book reserv schedul appointment calendar creat order meeting",
    ),
    (r"placed (?:an|the|your|a new) order|ordered", "order purchas buy checkout creat place"),
    (
        r"created|opened|filed|submitted|registered|raised|logged|added|recorded|saved|processed",
        "*",
    ),
    (r"deleted|removed|erased", "delet remov eras drop clear cancel clean purge unsubscri modif updat set"),
    (
        r"transferred you|transferred your|escalated|handed (?:you|this|it) over|connected you",
        "transfer escalat hand human agent ticket connect queue rout",
    ),
    (
        r"charged|applied (?:a|the|your)|credited|waived",
        "charg pay appl discount coupon credit waiv bill promo refund updat modif",
    ),
    (
        r"activated|deactivated|enabled|disabled|unlocked|unblocked|blocked|reset|restarted|rebooted|resumed|suspended",
        "activ enabl disabl lock block reset start boot resum suspend toggle turn set updat send refuel",
    ),
)
BETWEEN = r"(?:(?:now|just|also|already|successfully|gone ahead and|went ahead and|then|since|both)\s+)*"
CLAIMS = tuple(
    (
        re.compile(
            rf"\b(?:I|we)(?:['’]ve|\s+have)?\s+{BETWEEN}(?P<did>{forms})\b"
            rf"|\b(?:has|have|was|were)\s+(?:now\s+|just\s+)?(?:been\s+)?successfully\s+(?:been\s+)?(?P<was>{forms})\b",
            re.IGNORECASE,
        ),
        tuple(stems.split()),
    )
    for forms, stems in FAMILIES
)
NOT_NOW = re.compile(
    r"\b(?:once|if|when|whenever|until|unless|after|before|as soon as|would|could|should|cannot|can't|unable|in case|earlier you"
    r"|you said|I see|I understand|it (?:looks|seems|appears)|according|assume|plan)\b|\?",
    re.IGNORECASE,
)
READER = re.compile(
    r"^(?:get|find|list|search|look|lookup|read|fetch|check|calculate|query|retrieve|view|show|describe|count|think|verify|validate"
    r"|know)(?=[_\-. A-Z]|$)"
)
ANYTHING = re.compile(
    r"exec|run|bash|shell|sql|http|request|api|code|python|browser|click|computer|terminal|script|invoke|workflow|action|command"
    r"|mcp|delegate|task|agent|assistant|apply_patch|playwright",
    re.IGNORECASE,
)  # tools that can do whatever they are asked to
SENTENCE = re.compile(r"[^.!?\n。！？]+[.!?。！？]*")


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return the agent's first claim of each kind of act that no successful call before it can have done."""
    found: list[Suspicion] = []
    done: list[str] = []  # what successful calls before the message are called, and what they were given
    known: list[str] = []  # what was read before: a status that says "cancelled" may be told as such
    failed: dict[str, Act] = {}
    claimed: set[int] = set()
    was_done: set[int] = set()
    can_do_anything = False
    for act in run.acts:
        if act.kind == "call":
            if act.is_error or (act.has_result and error_in(act.result)):
                failed[act.name] = act
                continue
            if act.has_result:
                known.append(canonical(act.result).lower()[:5000])
            if not READER.match(act.name):
                done.append(f"{act.name} {canonical(act.arguments)[:2000]}".lower())
                can_do_anything = can_do_anything or bool(ANYTHING.search(act.name))
            continue
        if act.role != "assistant" or act.is_sub_agent or can_do_anything:
            continue
        for sentence in SENTENCE.findall(act.text[:20_000]):
            if NOT_NOW.search(sentence):
                continue
            for number, (claim, stems) in enumerate(CLAIMS):
                match = claim.search(sentence)
                if match is None or number in claimed or number in was_done:
                    continue
                if done and (stems == ("*",) or any(stem in text for text in done for stem in stems)):
                    was_done.add(number)
                    continue
                word = match.group("did") or match.group("was")
                if match.group("was") and any(word.split()[0].lower()[:6] in text for text in known):
                    continue
                claimed.add(number)
                tried = next(
                    (call for name, call in failed.items() if any(stem in name.lower() for stem in stems)), None
                )
                because = f"{tried.name} failed" if tried else "no call that could do so succeeded before"
                found.append(
                    Suspicion(
                        act.span_id,
                        f"The agent says “{shorten(sentence, 160)}”, and {because}",
                        (tried.span_id,) if tried else (),
                    )
                )
    return found[:MAX_EACH]


def blind(run: Run, limits: Limits) -> str:
    return needs_words(run, limits) or needs_calls(run, limits)


DETECTOR = Detector(
    name="unmade_action",
    label="Claimed, not done",
    help="The agent told the customer that it did something, and no successful call before could have done it.",
    version=1,
    layer="outcome",
    find=find,
    blind=blind,
)
