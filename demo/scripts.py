"""The scripted agents: what they do for each kind of request, and how they go wrong. Pure and deterministic.

A `twist` is what goes wrong in a run: "" (nothing), `tool_error` (a tool fails once), `tool_down` (it keeps failing), `loop` (the
same call again and again), `wrong_arguments`, `ignored` (a result that says no is not heeded), `claimed` (an action is claimed and
never made), `silent` (a tool reports an error under an OK status), `abandoned` (the customer stops answering).
"""

from collections.abc import Callable
from random import Random

from demo.recorder import Recorder
from demo.shop import POLICIES, SHOP, Case

SYSTEM = (
    f"You are a support agent of {SHOP}. Be kind and brief. Look things up before you answer, never promise what a tool has not "
    "confirmed, and hand over to a person when the policy asks for it."
)
TWISTS = ["tool_error", "tool_down", "loop", "wrong_arguments", "ignored", "claimed", "silent", "abandoned"]

OPENINGS: dict[str, list[str]] = {
    "refund_request": [
        "I was charged twice for {order_id}, please refund one of them.",
        "The {product} from order {order_id} is not for me. Can I have my money back?",
        "Refund only the {product} on {order_id} please, not the whole order.",
        "My {product} arrived with a cracked lid. I would like a refund, order {order_id}.",
        "I sent the {product} back last week. When do I get my ${amount:.2f}? Order {order_id}",
    ],
    "order_status": [
        "Where is order {order_id}? It was due on Monday.",
        "Tracking says delivered but there is nothing here. Order {order_id}.",
        "Has {order_id} shipped yet?",
        "My {product} has been in transit for a week, order {order_id}. What is going on?",
    ],
    "subscription_change": [
        "Switch me from monthly to every two months and skip the next box please. I am {email}.",
        "I want to pause my plan over the summer. My account is {email}.",
        "Please move me to the annual plan, {email}.",
        "What is my current plan and when is the next payment? {email}",
    ],
    "address_change": [
        "Can you send {order_id} to {new_address} instead?",
        "I moved. Please change the delivery address of order {order_id} to {new_address}.",
        "Wrong street on {order_id}! It should be {new_address}.",
    ],
    "complaint": [
        "This is the third time my {product} comes late. Order {order_id}. I am really annoyed.",
        "The {product} I got is stale and your last answer was useless. {order_id}",
        "Nobody answered my last two e-mails about {order_id}. Do you even read them?",
    ],
}
NEW_ADDRESSES = ["4 Foundry Row, Ely", "17b Chapel Court, Leith", "9 Tannery Walk, Whitby", "2 Weavers’ Green, Ludlow"]


def opening(topic: str, case: Case, rng: Random) -> str:
    """Return what the customer writes first."""
    facts = {"order_id": case.order_id, "product": case.product, "amount": case.amount, "email": case.email}
    return rng.choice(OPENINGS[topic]).format(**facts, new_address=rng.choice(NEW_ADDRESSES))


def find_order(run: Recorder, case: Case, twist: str) -> bool:
    """Look the order up, with what can go wrong on the way. Returns whether it was found."""
    if twist == "wrong_arguments":
        run.use_tool(
            "get_order",
            {"order_id": case.customer_id},
            None,
            error=("ToolError", f"No order {case.customer_id}: an order number starts with FH-"),
        )
    if twist == "tool_error":
        run.use_tool(
            "get_order",
            {"order_id": case.order_id},
            None,
            error=("TimeoutError", "orders-db did not answer in 5 s"),
            ms=5000,
        )
    if twist == "tool_down":
        for _ in range(3):
            message = "503 Service Unavailable from orders-api"
            run.use_tool(
                "get_order",
                {"order_id": case.order_id},
                None,
                error=("HTTPError", message),
                ms=run.rng.uniform(900, 2100),
            )
        return False
    if twist == "loop":
        for _ in range(run.rng.randrange(5, 9)):
            run.use_tool("get_order", {"order_id": case.order_id}, case.order())
    run.use_tool("get_order", {"order_id": case.order_id}, case.order())
    return True


def give_up(run: Recorder, case: Case) -> None:
    """Say that the systems are down."""
    run.reply(
        f"I am sorry, {case.customer}: our order system is not answering at the moment, so I cannot look at {case.order_id}. "
        "Please write again in an hour."
    )


def refund(run: Recorder, case: Case, twist: str) -> None:
    """Handle a refund request."""
    if not find_order(run, case, twist):
        return give_up(run, case)
    run.look_up_policy("refunds", POLICIES["refunds"])
    within = case.days_since_delivery <= 30
    if twist == "abandoned":
        run.reply(
            f"Thank you, {case.customer}. Was the {case.product} damaged, or do you not want to keep it? A photo would help."
        )
        return None
    if twist == "claimed":
        run.reply(
            f"Good news, {case.customer}! I have refunded ${case.amount:.2f} for the {case.product} to your card. It will be there within "
            "5 working days."
        )
        return None
    if twist == "silent":
        run.use_tool(
            "create_refund",
            {"charge_id": case.charge_id, "amount": case.amount},
            {
                "status": "error",
                "code": "needs_approval",
                "message": "Refunds above $60 need a person",
                "refund_id": None,
            },
        )
        run.reply(f"All done, {case.customer}. Your refund of ${case.amount:.2f} is on its way.")
        return None
    if not within and twist != "ignored":
        run.reply(
            f"I am sorry, {case.customer}: order {case.order_id} was delivered {case.days_since_delivery} days ago, and we "
            "refund within 30 days of delivery. I can offer you 15% off your next order instead."
        )
        return None
    run.use_tool(
        "list_charges",
        {"customer_id": case.customer_id},
        {"charges": [{"charge_id": case.charge_id, "amount": case.amount, "order_id": case.order_id}]},
    )
    result = {
        "status": "succeeded",
        "refund_id": "re_" + case.charge_id[3:],
        "amount": case.amount,
        "arrives_in_days": 5,
    }
    if twist == "ignored":
        refusal = {
            "status": "declined",
            "reason": f"Delivered {case.days_since_delivery + 31} days ago: outside the 30 days",
        }
        run.use_tool("create_refund", {"charge_id": case.charge_id, "amount": case.amount}, refusal)
        run.reply(
            f"Your refund of ${case.amount:.2f} has been made, {case.customer}. You will see it within 5 working days."
        )
        return None
    run.use_tool("create_refund", {"charge_id": case.charge_id, "amount": case.amount}, result)
    run.reply(
        f"I have refunded ${case.amount:.2f} for the {case.product} (order {case.order_id}), {case.customer}. It goes back to the "
        f"card that you paid with and arrives within 5 working days. Reference {result['refund_id']}."
    )
    return None


def order_status(run: Recorder, case: Case, twist: str) -> None:
    """Say where an order is."""
    if not find_order(run, case, twist):
        return give_up(run, case)
    if twist == "claimed":
        run.reply(
            f"I have asked the carrier to look for {case.order_id} and they will call you today, {case.customer}."
        )
        return None
    if case.status == "packed":
        run.reply(
            f"{case.order_id} is packed and leaves us today or tomorrow, {case.customer}. You get the tracking link by e-mail."
        )
        return None
    place = run.rng.choice(["Newcastle depot", "the local post office", "the van, out for delivery"])
    found = {"tracking_number": case.tracking, "last_scan": place, "hours_ago": run.rng.randrange(2, 60)}
    if twist == "silent":
        found = {"tracking_number": case.tracking, "error": "carrier_unreachable", "last_scan": None}
    run.use_tool("track_parcel", {"tracking_number": case.tracking}, found)
    if twist == "silent":
        run.reply(f"Your parcel {case.tracking} is on its way, {case.customer}, and should be with you tomorrow.")
    elif twist == "ignored":
        run.reply(f"{case.order_id} has not left our warehouse yet, {case.customer}.")
    elif twist == "abandoned":
        run.reply(f"The carrier's last scan was at {place}. Could you check with a neighbour, {case.customer}?")
    else:
        run.reply(
            f"Your parcel {case.tracking} was last seen at {place}, {found['hours_ago']} hours ago, {case.customer}. It is on its way."
        )
    return None


def subscription(run: Recorder, case: Case, twist: str) -> None:
    """Change or explain a plan."""
    if twist == "tool_down":
        for _ in range(2):
            run.use_tool(
                "get_customer",
                {"email": case.email},
                None,
                error=("HTTPError", "502 Bad Gateway from accounts-api"),
                ms=1400,
            )
        run.reply(f"I am sorry, {case.customer}: I cannot reach your account just now. Please try again later today.")
        return
    repeats = run.rng.randrange(4, 8) if twist == "loop" else 1
    for _ in range(repeats):
        run.use_tool(
            "get_customer",
            {"email": case.email},
            {"customer_id": case.customer_id, "plan": case.plan, "next_payment_in_days": 11},
        )
    if twist == "tool_error":
        error = ("TimeoutError", "billing did not answer in 3 s")
        run.use_tool("change_plan", {"customer_id": case.customer_id, "plan": "paused"}, None, error=error, ms=3000)
    if twist == "wrong_arguments":
        error = ("ValidationError", f"customer_id must start with cus_, got {case.email}")
        run.use_tool("change_plan", {"customer_id": case.email, "plan": "paused"}, None, error=error)
    run.look_up_policy("subscription", POLICIES["subscription"])
    if twist == "abandoned":
        run.reply(f"Happy to help, {case.customer}. From which month should the pause start?")
        return
    if twist != "claimed":
        result: dict[str, object] = {"status": "scheduled", "from": "next box"}
        if twist in ("silent", "ignored"):
            result = {"status": "rejected", "error": "plan_locked_until_renewal"}
        run.use_tool("change_plan", {"customer_id": case.customer_id, "plan": "paused"}, result)
    run.reply(
        f"Done, {case.customer}: the change is made and takes effect with your next box. A box that is already packed still ships."
    )
    return


def address(run: Recorder, case: Case, twist: str) -> None:
    """Change an order's address."""
    if not find_order(run, case, twist):
        return give_up(run, case)
    run.look_up_policy("address", POLICIES["address"])
    if case.status != "packed" and twist not in ("ignored", "claimed"):
        run.reply(
            f"I am sorry, {case.customer}: {case.order_id} has already shipped, so we cannot change its address. The carrier can "
            f"redirect it with the number {case.tracking}."
        )
        return None
    if twist == "abandoned":
        run.reply(f"I can do that, {case.customer}. Is the new address right as you wrote it, with no flat number?")
        return None
    if twist != "claimed":
        result: dict[str, object] = {"status": "changed", "order_id": case.order_id}
        if twist in ("ignored", "silent"):
            result = {"status": "refused", "error": "already_shipped"}
        run.use_tool("change_address", {"order_id": case.order_id, "address": NEW_ADDRESSES[0]}, result)
    run.reply(f"The address of {case.order_id} is changed, {case.customer}. You will get a confirmation by e-mail.")
    return None


def complaint(run: Recorder, case: Case, twist: str) -> None:
    """Answer a complaint."""
    if not find_order(run, case, twist):
        return give_up(run, case)
    run.look_up_policy("complaints", POLICIES["complaints"])
    if twist == "ignored":
        run.reply("We are sorry to hear that. Is there anything else that we can do for you?")
        return None
    if twist != "claimed":
        ticket = {"ticket_id": f"T-{case.order_id[3:]}", "answer_by": "in 2 working days"}
        if twist == "silent":
            ticket = {"error": "queue_full", "ticket_id": ""}
        run.use_tool("open_ticket", {"subject": f"{case.product}, {case.order_id}", "priority": "high"}, ticket)
    if twist == "abandoned":
        run.reply(f"I am very sorry, {case.customer}. Could you tell me what was wrong with the {case.product}?")
        return None
    run.reply(
        f"I am very sorry, {case.customer}. The {case.product} should not have reached you like this. I have opened a ticket "
        f"for {case.order_id} with high priority; a person will write to you within 2 working days."
    )
    return None


SCRIPTS: dict[str, Callable[[Recorder, Case, str], None]] = {
    "refund_request": refund,
    "order_status": order_status,
    "subscription_change": subscription,
    "address_change": address,
    "complaint": complaint,
}
FOLLOW_UPS = [
    ("Thank you. Will I get a confirmation?", "Yes, {customer}: it is on its way to {email}."),
    (
        "And when exactly will that be?",
        "Within 5 working days at the latest, {customer}. You will hear from us before that.",
    ),
    (
        "That does not help me at all.",
        "I understand, {customer}. I have noted that for {order_id}, so that a person looks at it first.",
    ),
    ("Great, thanks!", "You are welcome, {customer}. Enjoy your coffee!"),
    ("Can I also change my e-mail address?", "Yes: under Account on our site, {customer}. It takes a minute."),
]


def run_turn(run: Recorder, topic: str, case: Case, twist: str) -> None:
    """Run one request from the customer's message to the reply."""
    run.customer(opening(topic, case, run.rng))
    with run.inside("agent", f"{run.setting.agent_id}.run", given=str(run.thread[-1]["content"])) as root:
        run.guard("check_input", "passed")
        SCRIPTS[topic](run, case, twist)
        run.guard("check_reply", "passed")
        root.result = str(run.thread[-1].get("content") or "")
        if twist == "tool_down":
            root.error = ("ToolError", "The order system stayed unavailable")


def run_follow_up(run: Recorder, case: Case) -> None:
    """Run a short second turn in the same session."""
    asked, answered = run.rng.choice(FOLLOW_UPS)
    run.customer(asked)
    with run.inside("agent", f"{run.setting.agent_id}.run", given=asked) as root:
        run.guard("check_input", "passed")
        root.result = answered.format(customer=case.customer, email=case.email, order_id=case.order_id)
        run.reply(root.result)


def run_long_conversation(run: Recorder, case: Case, turns: int) -> None:
    """Talk for `turns` turns with one customer who plans a tasting, all in one trace."""
    beans = ["Kenya AA", "Ethiopia Guji", "Decaf Huila", "house espresso", "Sumatra", "Costa Rica honey"]
    questions = [
        ("How many grams of {bean} for {n} people?", "For {n} people take {g} g of {bean}: 7 g a cup, two cups each."),
        ("And the water for that?", "About {w} ml for the {bean}, at 93 degrees."),
        (
            "Which one should come after the {bean}?",
            "Something lighter: after the {bean} the palate wants a break. Serve plain water.",
        ),
        (
            "Can you add {n} bags of {bean} to my order?",
            "Noted: {n} bags of {bean}. That is turn {turn} of our plan, {customer}.",
        ),
        ("What did we say about the {bean}?", "We said {g} g for {n} people, and to serve it while it is warm."),
    ]
    first = "I am planning a coffee tasting and have many questions. Shall we go one by one?"
    with run.inside("agent", f"{run.setting.agent_id}.run", given=first) as root:
        for turn in range(1, turns + 1):
            number = run.rng.randrange(2, 24)
            facts = {
                "bean": run.rng.choice(beans),
                "n": number,
                "g": number * 14,
                "w": number * 250,
                "turn": turn,
                "customer": case.customer,
            }
            asked, answered = questions[turn % len(questions)]
            run.customer(first if turn == 1 else asked.format(**facts))
            run.wait(run.rng.uniform(4_000, 40_000))
            if turn % 8 == 4:
                run.use_tool("get_order", {"order_id": case.order_id}, case.order())
            run.reply(f"With pleasure, {case.customer}. Ask away." if turn == 1 else answered.format(**facts))
        root.result = str(run.thread[-1]["content"])


def run_nightly_audit(run: Recorder, spans: int) -> None:
    """Check every product page with a sub-agent each, until the run holds `spans` spans."""
    run.customer("Check every product page for prices that differ from the price list, and report them.")
    with run.inside("agent", "catalogue-audit.run", given=str(run.thread[-1]["content"])) as root:
        page = found = 0
        while len(run.steps) < spans - 2:
            page += 1
            with run.inside("agent", f"page-checker {page}", given=f"/products/{page}") as checker:
                for tool, result in (
                    ("fetch_page", {"status": 200, "bytes": run.rng.randrange(9_000, 60_000)}),
                    ("read_price", {"price": 17.5}),
                ):
                    if len(run.steps) >= spans - 2:
                        break
                    step = run.open(
                        "tool",
                        tool,
                        tool={
                            "name": tool,
                            "call_id": f"call_{page}_{tool}",
                            "arguments": {"page": page},
                            "result": result,
                        },
                    )
                    if run.rng.random() < 0.012:
                        step.error = ("TimeoutError", f"/products/{page} did not answer in 10 s")
                    run.close(step, run.rng.uniform(8, 140))
                if len(run.steps) < spans - 2:
                    differs = run.rng.random() < 0.03
                    found += differs
                    thread = [{"role": "user", "content": f"Page {page}: does the price differ from the list?"}]
                    step = run.open("llm", f"chat {run.setting.model}", model=run.setting.model, thread=thread)
                    step.seen, step.answer = (
                        1,
                        {"role": "assistant", "content": "It differs." if differs else "It is the same."},
                    )
                    step.tokens = (len(thread[0]["content"]) // 4 + 40, 5, 0)
                    run.close(step, run.rng.uniform(120, 420))
                checker.result = "differs" if differs else "same"
        run.reply(f"I checked {page} pages. {found} prices differ from the list; they are in the report.")
        run.guard("check_reply", "passed")
        root.result = str(run.thread[-1]["content"])
