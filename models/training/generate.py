"""Writes the training text of baton-tiny: short stories, question sheets, and conversations in which facts are told and later asked for.

Everything is seeded and needs only the Python standard library. A *document* is either {"text": ...} (a story or a question sheet) or
{"messages": [...]} (a conversation). `tokenization.py` turns documents into tokens.

Held out: every value whose CRC-32 ends in 7 (`reserved`) - about a tenth of all names, towns, foods, jobs, ..., of all invented names and
of all numbers of three or more digits - never occurs in a document of the training mode. The held-out conversations come from other seeds;
one set uses values that training may have used in other combinations, the other asks only for reserved values.
"""

import argparse
import json
import random
import re
import zlib

import words

# ---------------------------------------------------------------------------------------------------------------------------------
# Values


def reserved(value):
    """Whether training must never use this value."""
    return zlib.crc32(value.lower().encode()) % 10 == 7


ONSETS = "b br c cl d dr f fl g gr h j k kl l m n p pr r s sh st t tr v w y z th".split()
VOWELS = "a e i o u a e i o ai ea ia io".split()
CODAS = ["", "", "", "n", "r", "l", "s", "m", "k", "t", "x", "nd", "th", "ra", "la", "na", "ro", "lin", "ris"]


def invented_name(rng):
    syllables = rng.choice((1, 2, 2, 2, 3))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(syllables)).capitalize() + rng.choice(CODAS)


def invented_town(rng):
    return rng.choice(words.TOWN_HEADS) + rng.choice(words.TOWN_TAILS)


def ship(rng):
    return rng.choice(words.SHIP_HEADS) + " " + rng.choice(words.SHIP_TAILS)


def digits(rng, low, high):
    length = rng.randint(low, high)
    return str(rng.randint(1, 9)) + "".join(str(rng.randint(0, 9)) for _ in range(length - 1))


def password(rng):
    return rng.choice(words.SECRETS) + (digits(rng, 1, 3) if rng.random() < 0.4 else "")


_ALL_WORDS = sorted({w for pool in (words.FOODS, words.DRINKS, words.JOBS, words.ANIMALS, words.INSTRUMENTS, words.SPORTS, words.PLANTS, words.OBJECTS,
                                   words.SECRETS, words.COLOURS, words.SUBJECTS) for w in pool if " " not in w and len(w) > 3})


def strange_word(rng):
    """A word that is in no list, so that a value must be copied and cannot be chosen from those known."""
    if rng.random() < 0.5:
        return invented_name(rng).lower()
    one, two = rng.choice(_ALL_WORDS), rng.choice(_ALL_WORDS)
    return (one[:rng.randint(2, len(one) - 1)] + two[rng.randint(1, len(two) - 2):]).lower()


class Values:
    """Draws values. mode "training" never draws a reserved one; mode "reserved" draws reserved ones alone."""

    POOLS = {
        "COL": words.COLOURS, "FOOD": words.FOODS, "DRINK": words.DRINKS, "JOB": words.JOBS, "ANIMAL": words.ANIMALS,
        "BEAST": words.BEASTS, "INSTR": words.INSTRUMENTS, "SPORT": words.SPORTS, "PLANT": words.PLANTS, "OBJ": words.OBJECTS,
        "THING": words.THINGS, "PLACE": words.PLACES, "CODE": words.CODES, "VEH": words.VEHICLES, "REL": words.RELATIONS,
        "DAY": words.WEEKDAYS, "MONTH": words.MONTHS, "SUBJ": words.SUBJECTS, "SECRET": words.SECRETS, "ADJ": words.ADJECTIVES,
    }
    # Short closed lists from which nothing is held out: a reserved weekday would only be a word that the model cannot know.
    OPEN = {"DAY", "MONTH", "VEH", "REL", "BEAST", "ADJ", "CODE"}
    # Kinds of value that are never reserved: the closed lists, and numbers of one or two digits.
    FREE = OPEN | {"SMALL", "NUM", "AGE", "DATE"}

    # Kinds of fact whose value may also be a strange word.
    WORDS = {"COL", "FOOD", "DRINK", "JOB", "ANIMAL", "INSTR", "SPORT", "PLANT", "OBJ", "PLACE", "SUBJ", "SECRET"}

    def __init__(self, rng, mode="training", strange=0.0, casual=0.0):
        self.rng = rng
        self.mode = mode
        self.strange = strange  # share of such values that are strange words
        self.casual = casual  # share of conversations in small letters
        self.pools = {}
        for key, pool in self.POOLS.items():
            self.pools[key] = pool if key in self.OPEN else [v for v in pool if reserved(v) == (mode == "reserved")]
        self.names = [v for v in words.NAMES if reserved(v) == (mode == "reserved")]
        self.cities = [v for v in words.CITIES if reserved(v) == (mode == "reserved")]

    def _until(self, draw):
        while True:
            value = draw(self.rng)
            if reserved(value) == (self.mode == "reserved"):
                return value

    def fact(self, kind):
        """A value that will be asked for."""
        if kind in self.WORDS and self.rng.random() < self.strange:
            return self._until(strange_word)
        return self.draw(kind)

    def draw(self, kind):
        rng = self.rng
        if kind in self.pools:
            pool = self.pools[kind]
            return pool[int(rng.random() * len(pool))]
        if kind == "NAME":
            return rng.choice(self.names) if rng.random() < 0.5 else self._until(invented_name)
        if kind == "CITY":
            return rng.choice(self.cities) if rng.random() < 0.5 else self._until(invented_town)
        if kind == "SHIP":
            return self._until(ship)
        if kind == "PIN":
            return self._until(lambda r: digits(r, 3, 6))
        if kind == "NUM3":
            return self._until(lambda r: digits(r, 3, 3))
        if kind == "PASS":
            return self._until(password)
        if kind == "SMALL":
            return str(rng.randint(2, 12))
        if kind == "NUM":
            return str(rng.randint(2, 99))
        if kind == "AGE":
            return str(rng.randint(5, 95))
        if kind == "DATE":
            return f"{rng.randint(1, 28)} {rng.choice(words.MONTHS)}"
        raise KeyError(kind)


# ---------------------------------------------------------------------------------------------------------------------------------
# Templates: [a|b] is a choice (may nest), {x} a slot; {COL} draws a fresh value, {COL1} one that the same text can repeat.

_TOKEN = re.compile(r"[\[\]|]|\{[A-Za-z]+[0-9]*\}|[^\[\]|{]+")
_compiled = {}


def _compile(template):
    stack = [[[]]]
    for token in _TOKEN.findall(template):
        if token == "[":
            stack.append([[]])
        elif token == "|":
            stack[-1].append([])
        elif token == "]":
            done = stack.pop()
            stack[-1][-1].append(("alt", done))
        elif token[0] == "{":
            stack[-1][-1].append(("slot", token[1:-1]))
        else:
            stack[-1][-1].append(token)
    assert len(stack) == 1 and len(stack[0]) == 1, template
    return stack[0][0]


_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


def expand(template, values, slots):
    parts = _compiled.get(template)
    if parts is None:
        parts = _compiled[template] = _compile(template)
    out = []
    local = {}
    _expand(parts, values, slots, local, out)
    return _ARTICLE.sub(r"\1n ", "".join(out))


def _expand(parts, values, slots, local, out):
    for part in parts:
        if type(part) is str:
            out.append(part)
        elif part[0] == "alt":
            choices = part[1]
            _expand(choices[int(values.rng.random() * len(choices))], values, slots, local, out)
        else:
            name = part[1]
            if name in slots:
                out.append(slots[name])
            elif name in local:
                out.append(local[name])
            elif name[-1].isdigit() and name not in ("NUM3",):
                local[name] = values.draw(name[:-1])
                out.append(local[name])
            else:
                out.append(values.draw(name))


# ---------------------------------------------------------------------------------------------------------------------------------
# Facts


class Fact:
    """One thing that can be told, asked and answered. `ident` is what may occur only once in a document."""

    __slots__ = ("ident", "value", "slots", "kind")

    def __init__(self, kind, ident, value, slots):
        self.kind, self.ident, self.value, self.slots = kind, ident, value, slots


class Kind:
    def __init__(self, key, value, say, ask, answer, ack="", argument=None):
        self.key, self.value, self.say, self.ask, self.answer, self.ack, self.argument = key, value, say, ask, answer, ack, argument


# About the user. {v} is the fact, {a} an argument that lets several of a kind stand side by side.
USER_KINDS = [
    Kind("name", "NAME", "[My name is {v}.|I am called {v}.|I'm {v}.|People call me {v}.|You can call me {v}.|Hello, I am {v}.]",
         "[What is my name?|What's my name?|Do you remember my name?|Do you know my name?|Tell me my name.|What am I called?|Can you tell me my name?|Who am I?|Say my name, please.]",
         "Your name is {v}.", "[Nice to meet you, {v}!|Hello, {v}!|Welcome, {v}!]"),
    Kind("city", "CITY", "[I live in {v}.|My home is in {v}.|I have a flat in {v}.|I moved to {v} last year.]",
         "[Where do I live?|Do you know where I live?|Which city do I live in?|In which city do I live?|Which town do I live in?|What is the name of my town?|Do you remember where I live?|Where is my home?]",
         "You live in {v}.", "[{v} sounds like a nice place.|I hope you like {v}.]"),
    Kind("born", "CITY", "[I was born in {v}.|I grew up in {v}.|I come from {v}.]",
         "[Where was I born?|Where do I come from?|Which town do I come from?|Where did I grow up?]", "You come from {v}."),
    Kind("age", "AGE", "[I am {v} years old.|I turned {v} this year.|My age is {v}.]",
         "[How old am I?|Do you know how old I am?|What is my age?|Do you remember how old I am?]", "You are {v} years old."),
    Kind("birthday", "DATE", "[My birthday is on {v}.|I was born on {v}.]",
         "[When is my birthday?|What is my birthday?|On which day is my birthday?]", "Your birthday is on {v}."),
    Kind("colour", "COL", "[My favourite colour is {v}.|I love the colour {v}.|The colour I like best is {v}.]",
         "[What is my favourite colour?|What's my favourite colour?|Do you know my favourite colour?|Which colour do I like best?|Do you remember my favourite colour?|What colour do I love?]",
         "Your favourite colour is {v}.", "[{v} is a beautiful colour.|I like {v} too.]"),
    Kind("food", "FOOD", "[My favourite food is {v}.|I love to eat {v}.|The food I like best is {v}.|I could eat {v} every day.]",
         "[What is my favourite food?|What's my favourite food?|What do I like to eat?|What do I love to eat?|Which food do I like best?|Do you remember what I like to eat?]",
         "Your favourite food is {v}."),
    Kind("drink", "DRINK", "[My favourite drink is {v}.|I always drink {v} in the morning.|I love to drink {v}.]",
         "[What is my favourite drink?|What do I like to drink?|Which drink do I like best?]", "Your favourite drink is {v}."),
    Kind("job", "JOB", "[I work as a {v}.|I am a {v}.|My job is {v}.|I earn my living as a {v}.]",
         "[What is my job?|What's my job?|What do I do for a living?|What do I work as?|Do you remember my job?]",
         "You work as a {v}.", "[Being a {v} must be interesting.|So you are a {v}.]"),
    Kind("petname", "NAME", "[My {a} is called {v}.|I have a {a} named {v}.|I have a {a}. Its name is {v}.|The name of my {a} is {v}.]",
         "[What is my {a} called?|What is the name of my {a}?|Do you remember the name of my {a}?|What's my {a}'s name?]",
         "Your {a} is called {v}.", "[{v} is a fine name for a {a}.|Say hello to {v}.]", "ANIMAL"),
    Kind("instrument", "INSTR", "[I play the {v}.|I am learning to play the {v}.|My instrument is the {v}.]",
         "[Which instrument do I play?|What instrument do I play?|What do I play?|Do you remember my instrument?]", "You play the {v}."),
    Kind("sport", "SPORT", "[My favourite sport is {v}.|My sport is {v}.|The sport I like best is {v}.]",
         "[What is my favourite sport?|Which sport do I like?|What sport do I like best?]", "Your favourite sport is {v}."),
    Kind("plant", "PLANT", "[My favourite plant is the {v}.|Of all plants I like the {v} best.]",
         "[What is my favourite plant?|Which plant do I like best?]", "Your favourite plant is the {v}."),
    Kind("subject", "SUBJ", "[I am studying {v}.|At school I like {v} best.|I take lessons in {v}.]",
         "[What am I studying?|Which subject do I learn?|What do I learn?]", "You are studying {v}."),
    Kind("code", "PIN", "[The code of my {a} is {v}.|My {a} opens with {v}.|The number for the {a} is {v}.|Remember the {a} code: {v}.|The {a} code is {v}.]",
         "[What is the code of my {a}?|What is the {a} code?|Which number opens my {a}?|How do I open my {a}?|I forgot the {a} code. What is it?|What's the code for the {a}?]",
         "The {a} code is {v}.", "[I will remember the code.|Got it.]", "CODE"),
    Kind("password", "PASS", "[The password is {v}.|Our secret word is {v}.|The secret word is {v}.|Please remember the password {v}.]",
         "[What is the password?|What is the secret word?|Which secret word did I tell you?|Do you know the password?]",
         "The password is {v}.", "[I will keep it in mind.|Your secret is safe.]"),
    Kind("wifi", "PASS", "[The wifi password is {v}.|My wifi password is {v}.|The password for the wifi is {v}.]",
         "[What is the wifi password?|What's the password for the wifi?|Do you know the wifi password?]", "The wifi password is {v}."),
    Kind("thingcolour", "COL", "[My {a} is {v}.|I painted my {a} {v}.|I have a {v} {a}.|The colour of my {a} is {v}.]",
         "[What colour is my {a}?|Which colour does my {a} have?|What is the colour of my {a}?|Do you remember the colour of my {a}?]",
         "Your {a} is {v}.", "[A {v} {a} sounds nice.|]", "THING"),
    Kind("hidden", "PLACE", "[I put the {a} in the {v}.|The {a} is in the {v}.|I keep my {a} in the {v}.|I hid the {a} in the {v}.]",
         "[Where is the {a}?|Where's my {a}?|Where is my {a}?|Where did I put the {a}?|Where do I find the {a}?|I cannot find my {a}. Where is it?]",
         "The {a} is in the {v}.", "[In the {v}, noted.|]", "OBJ"),
    Kind("count", "NUM", "[I own {v} {a}s.|I have {v} {a}s at home.|I bought {v} {a}s.|There are {v} {a}s on my table.]",
         "[How many {a}s do I have?|How many {a}s are there?|What is the number of my {a}s?]", "You have {v} {a}s.", "",
         "COUNTED"),
    Kind("line", "NUM3", "[I take {a} number {v} to work.|My {a} is number {v}.|The {a} has the number {v}.|I must catch {a} {v}.]",
         "[Which {a} do I take?|What is the number of my {a}?|Which number does my {a} have?]", "Your {a} is number {v}.", "", "VEH"),
    Kind("ship", "SHIP", "[My boat is called the {v}.|I sail on a ship named {v}.|The name of my boat is {v}.]",
         "[What is my boat called?|What is the name of my boat?|Do you remember the name of my boat?]", "Your boat is called the {v}."),
    Kind("house", "NUM3", "[My house number is {v}.|I live at number {v}.]", "[What is my house number?|At which number do I live?]",
         "Your house number is {v}."),
    Kind("room", "NUM3", "[My hotel room is number {v}.|I am in room {v}.]", "[What is my room number?|Which room am I in?|In which room do I stay?]",
         "You are in room {v}."),
    Kind("meeting", "DAY", "[I meet the {a} on {v}.|I see the {a} on {v}.|My appointment with the {a} is on {v}.]",
         "[When do I meet the {a}?|On which day do I see the {a}?|When is my appointment with the {a}?]", "You meet the {a} on {v}.", "", "JOB"),
    Kind("trip", "CITY", "[I will travel to {v} in {a}.|In {a} I am going to {v}.|My trip in {a} goes to {v}.]",
         "[Where am I going in {a}?|Where do I travel in {a}?|What is the destination of my trip in {a}?]", "You are going to {v} in {a}.",
         "[Have a good trip to {v}!|]", "MONTH"),
]

FAVOURITES = [("animal", "ANIMAL"), ("number", "NUM"), ("day", "DAY"), ("month", "MONTH"), ("city", "CITY"), ("word", "SECRET"), ("flower", "PLANT"),
              ("school subject", "SUBJ"), ("toy", "OBJ"), ("meal", "FOOD"), ("book", "SHIP"), ("song", "SHIP"), ("film", "SHIP"), ("hobby", "SPORT")]
USER_KINDS += [
    Kind("favourite " + a, kind, f"[My favourite {a} is {{v}}.|The {a} I like best is {{v}}.|{{v}} is my favourite {a}.]",
         f"[What is my favourite {a}?|Which {a} do I like best?|Do you remember my favourite {a}?]", f"Your favourite {a} is {{v}}.")
    for a, kind in FAVOURITES
]

# About other people. {p} is the name, {r} the relation; {who} becomes "my sister Lena", "my sister" or "Lena" as the sentence needs.
PERSON_KINDS = [
    Kind("city", "CITY", "[{who} lives in {v}.|{who} has a house in {v}.|{who} moved to {v}.]",
         "[Where does {whom} live?|In which town does {whom} live?|Which town does {whom} live in?]", "{Whom} lives in {v}."),
    Kind("job", "JOB", "[{who} works as a {v}.|{who} is a {v}.]", "[What is the job of {whom}?|What does {whom} do for a living?|What does {whom} work as?]",
         "{Whom} works as a {v}."),
    Kind("colour", "COL", "[{who} likes the colour {v}.|{who} always wears {v}.]", "[Which colour does {whom} like?|What colour does {whom} like?]",
         "{Whom} likes {v}."),
    Kind("food", "FOOD", "[{who} loves to eat {v}.|{who} likes {v} best of all foods.]", "[What does {whom} love to eat?|Which food does {whom} like?|What does {whom} like to eat?]",
         "{Whom} loves {v}."),
    Kind("drink", "DRINK", "[{who} drinks {v} every day.|{who} likes to drink {v}.]", "[What does {whom} drink?|What does {whom} like to drink?]", "{Whom} drinks {v}."),
    Kind("instrument", "INSTR", "{who} plays the {v}.", "[Which instrument does {whom} play?|What instrument does {whom} play?]", "{Whom} plays the {v}."),
    Kind("sport", "SPORT", "[{who} is good at {v}.|{who} likes {v} more than any other sport.]", "[Which sport does {whom} like?|What sport does {whom} like?]", "{Whom} likes {v}."),
    Kind("pet", "ANIMAL", "[{who} has a {v}.|{who} owns a {v}.]", "[Which animal does {whom} have?|What pet does {whom} have?]", "{Whom} has a {v}."),
    Kind("age", "AGE", "{who} is {v} years old.", "[How old is {whom}?|What is the age of {whom}?]", "{Whom} is {v} years old."),
    Kind("birthday", "DATE", "[{who} has a birthday on {v}.|{who} was born on {v}.]", "[When is the birthday of {whom}?|When was {whom} born?]", "{Whom} was born on {v}."),
    Kind("phone", "PIN", "[{who} has the phone number {v}.|{who} can be called at {v}.]", "[What is the phone number of {whom}?|Which number does {whom} have?|How can I call {whom}?]",
         "{Whom} has the number {v}."),
    Kind("subject", "SUBJ", "[{who} is studying {v}.|{who} learns {v}.]", "[What is {whom} studying?|What does {whom} learn?]", "{Whom} is studying {v}."),
    Kind("gift", "OBJ", "[{who} would like a {v} for the birthday.|{who} wants a {v}.]", "[What does {whom} want?|Which gift does {whom} want?]", "{Whom} wants a {v}."),
]
PERSON_KINDS += [
    Kind("favourite " + a, kind, f"[{{who}}'s favourite {a} is {{v}}.|The favourite {a} of {{who}} is {{v}}.]",
         f"[What is {{whom}}'s favourite {a}?|What is the favourite {a} of {{whom}}?]", f"{{Whom}}'s favourite {a} is {{v}}.")
    for a, kind in FAVOURITES[:10]
]
RELATIVE = Kind("relative", "NAME", "[My {r} is called {v}.|The name of my {r} is {v}.|My {r}'s name is {v}.]",
                "[What is the name of my {r}?|What is my {r} called?|Do you remember the name of my {r}?|What is my {r}'s name?]",
                "Your {r} is called {v}.", "[{v} is a lovely name.|]")

NUMBERS = {"AGE", "DATE", "PIN", "NUM", "NUM3"}
USER_NUMBERS = [k for k in USER_KINDS if k.value in NUMBERS]
PERSON_NUMBERS = [k for k in PERSON_KINDS if k.value in NUMBERS]

UNKNOWN = "You have not told me that."


def capital(text):
    return text[:1].upper() + text[1:]


class Facts:
    """The facts of one document: no two of them can be mistaken for each other."""

    def __init__(self, values):
        self.values = values
        self.used = set()
        self.people = {}  # relation -> name
        self.facts = []
        self.casual = values.rng.random() < values.casual  # the user writes in small letters

    def _value(self, value):
        return value.lower() if self.casual else value

    def _name(self):
        while True:
            name = self._value(self.values.draw("NAME"))
            if ("person", name) not in self.used:
                self.used.add(("person", name))
                return name

    def user(self, kind=None):
        rng = self.values.rng
        for _ in range(50):
            k = kind or (rng.choice(USER_NUMBERS) if rng.random() < 0.15 else rng.choice(USER_KINDS))
            argument = None
            if k.argument == "COUNTED":
                argument = rng.choice(("book", "lamp", "coin", "shell", "spoon", "bottle", "candle", "stone", "marble", "stamp", "ball", "cup", "feather", "pencil"))
            elif k.argument:
                argument = self.values.draw(k.argument)
            ident = ("user", k.key, argument)
            if ident in self.used:
                continue
            self.used.add(ident)
            value = self._name() if k.value == "NAME" else self._value(self.values.fact(k.value))
            fact = Fact(k, ident, value, {"v": value, "a": argument or ""})
            self.facts.append(fact)
            return fact
        raise RuntimeError("no fact is left")

    def person(self, relations=True):
        """A fact about somebody else; with relations "my sister Lena", without only "Lena"."""
        rng = self.values.rng
        for _ in range(50):
            if relations:
                r = self.values.draw("REL")
            else:
                r = str(rng.randint(1, 6))
            known = r in self.people
            if not known:
                self.people[r] = self._name()
            p = self.people[r]
            if relations and not known and rng.random() < 0.3:
                fact = Fact(RELATIVE, ("relative", r), p, {"v": p, "r": r})
            else:
                k = rng.choice(PERSON_NUMBERS) if rng.random() < 0.15 else rng.choice(PERSON_KINDS)
                ident = ("person", r, k.key)
                if ident in self.used:
                    continue
                self.used.add(ident)
                value = self._value(self.values.fact(k.value))
                slots = {"v": value, "p": p, "r": r}
                if not relations:
                    slots.update(who=p, whom=p, Whom=p)
                else:
                    if known:
                        slots["who"] = rng.choice((p, f"My {r}", f"My {r} {p}"))
                    else:
                        slots["who"] = f"My {r} {p}"
                    by_name = rng.random() < 0.5
                    slots["whom"] = p if by_name else f"my {r}"
                    slots["Whom"] = p if by_name else f"Your {r}"
                fact = Fact(k, ident, value, slots)
            self.facts.append(fact)
            return fact
        raise RuntimeError("no fact is left")

    def any(self):
        return self.user() if self.values.rng.random() < 0.68 else self.person()

    def say(self, fact):
        text = expand(fact.kind.say, self.values, fact.slots).replace(" of My ", " of my ")
        return text.lower() if self.casual else capital(text)

    def say_all(self, facts):
        """Sentences, some of them joined by "and"."""
        rng = self.values.rng
        out = self.say(facts[0])
        for f in facts[1:]:
            said = self.say(f)
            if rng.random() < 0.25 and out[-1] == ".":
                if said.startswith(("My ", "The ", "Our ", "Please ", "Of ", "At ", "In ")):
                    said = said[0].lower() + said[1:]
                out = out[:-1] + rng.choice((" and ", ", and ", ", and ")) + said
            else:
                out += " " + said
        return out[:-1] if self.casual and rng.random() < 0.5 else out

    def ask(self, fact):
        text = expand(fact.kind.ask, self.values, fact.slots)
        if self.casual:
            text = text.lower()
            return text[:-1] if self.values.rng.random() < 0.3 else text
        return capital(text)

    def answer(self, fact):
        return capital(expand(fact.kind.answer, self.values, fact.slots))

    def ack(self, fact):
        return capital(expand(fact.kind.ack, self.values, fact.slots)) if fact.kind.ack else ""


# ---------------------------------------------------------------------------------------------------------------------------------
# Stories

OPENINGS = [
    "[Once upon a time|A long time ago|One day|Many years ago] there was a {adj} {kind} [named|called] {h}. {h} lived in [a small house|an old cottage|a little cabin|a tall tower] in {town}. [Every day|Each morning] {he} [walked to the market|sat by the window|looked at the sky|went down to the river] with a {col} {obj}.",
    "In the town of {town} lived a {adj} {kind}. The name of the {kind} was {h}. {h} had a {col} {obj} and a good friend, {f} the {fkind}.",
    "{h} was a {adj} {kind} from {town}. {He} had a {col} {obj}, and {he} took it everywhere. {His} best friend was {f}, a {fadj} {fkind}.",
    "This is the story of {h}, a {adj} {kind} who lived in {town}. [Nobody|No one] in {town} had a {obj} as {col} as {his}.",
    "[Once upon a time there|There|One day there] was a {adj} {kind} who had lost {his} {obj}. The {kind} was called {h}, and the {obj} was {col}. {h} looked for it everywhere in {town}. \"I will help you,\" said {f}, a {fadj} {fkind}.",
    "The {kind} was {adj}. {His} name was {h}, and {he} came from {town}. {He} liked nothing better than {his} {col} {obj}. [One|A] friend of {his} was {f} the {fkind}.",
    "[{h} and {f} were friends.|{f} and {h} were good friends.] {h} was a {kind}, and {f} was a {fkind}. They lived in {town} and shared a {col} {obj}.",
    "[In|Near|Far away, in] {town}[,|] there was a {kind} called {h}. Everybody said that {h} was {adj}. {h} had a {col} {obj} and a friend, the {fkind} {f}.",
    "It was a [cold|warm|windy|rainy|quiet|bright] {DAY} in {town}. A {adj} {kind} named {h} was looking for a {col} {obj}. {f}, a {fadj} {fkind}, wanted to help.",
]
SCENES = [
    "{LINK} {h} met a {ADJ} {BEAST1} by the [river|road|bridge|gate]. \"[Hello|Good day|Good morning],\" said the {BEAST1}. \"My name is {NAME1}. Have you seen my {OBJ1}?\" {h} had not seen the {OBJ1}, but {he} helped {NAME1} to look for it. They found the {OBJ1} in the {PLACE}. {NAME1} was so [happy|glad|pleased] that {he} danced.",
    "{LINK} it began to [rain|snow|storm]. {h} and {f} ran into [an old barn|a dark cave|an empty house|a small church]. Inside they found {SMALL1} {COL1} [lanterns|boxes|chairs|blankets]. \"Who needs {SMALL1} of them?\" asked {f}. Nobody knew, so they [sat down|lay down|waited] until the [sun|moon] came out.",
    "{LINK} {f} came to visit. {f} had made {FOOD1}, and {h} had made {FOOD2}. They ate the {FOOD1} first and the {FOOD2} later. \"I like the {FOOD1} best,\" said {h}. \"No, the {FOOD2},\" said {f}, and they both laughed.",
    "{LINK} a letter came for {h}. It was from {NAME1}, who lived in {CITY1}. \"Dear {h},\" it said, \"please come to {CITY1} and bring a {OBJ1}. Your {NAME1}.\" {h} [packed|took] a {OBJ1} and told {f} about {CITY1}.",
    "{LINK} {h} lost the {col} {obj}. {He} looked in the {PLACE}, then in the {PLACE}, and at last in the {PLACE1}. There it was! \"I must not leave my {obj} in the {PLACE1} again,\" said {h}.",
    "{LINK} the people of {town} [held|had] a [feast|fair|race|party]. {NAME1} won the first prize, a {COL1} {OBJ1}. {NAME2} won the second prize, a {OBJ2}. {h} [clapped|cheered], and {NAME1} showed everyone the {COL1} {OBJ1}.",
    "{LINK} {h} heard [a noise|a song|a strange sound] from the {PLACE1}. {He} opened the {PLACE1} and saw a tiny {BEAST1}. The {BEAST1} was [hungry|thirsty|cold], so {h} gave it some {FOOD1}. The {BEAST1} ate all of the {FOOD1} and fell asleep.",
    "{LINK} {f} asked, \"What do you want to be one day, {h}?\" {h} thought for a while. \"A {JOB1},\" {he} said. \"A {JOB1} can help people.\" {f} wanted to be a {JOB2}. So they played: {h} was the {JOB1}, and {f} was the {JOB2}.",
    "{LINK} a {JOB1} from {CITY1} came to {town}. The {JOB1} was called {NAME1} and carried a {OBJ1}. \"In {CITY1} everybody has a {OBJ1},\" said {NAME1}. {h} had never been to {CITY1}.",
    "{LINK} {h} climbed [a hill|a tree|a tower|a ladder] to see the [sea|stars|town|forest]. From up there {he} counted {NUM1} [birds|boats|lights|houses]. \"{NUM1}!\" {he} called down to {f}. \"There are {NUM1}!\"",
    "{LINK} {h} and {f} built a [boat|hut|raft|kite]. They painted it {COL1} and gave it the name {SHIP1}. {f} wrote {SHIP1} on the side in {COL2} letters. The {SHIP1} was the [finest|best] in all of {town}.",
    "{LINK} {h} wanted to learn the {INSTR1}. {NAME1}, the old {JOB1}, played the {INSTR1} very well. \"[Practise|Play] every {DAY1},\" said {NAME1}. So {h} played the {INSTR1} every {DAY1} until {he} was good at it.",
    "{LINK} {f} was [ill|sad|tired]. {h} brought {DRINK1} and a {PLANT1}. {f} drank the {DRINK1} and smelled the {PLANT1}. \"Thank you, {h},\" said {f}. \"Now I feel much better.\"",
    "{LINK} they found an old map. It showed a [path|road|river] from {town} to {CITY1}, and a cross by a {PLANT1} tree. They dug under the {PLANT1} tree and found a box with {NUM1} coins. {h} kept the box, and the {NUM1} coins went to the poor of {CITY1}.",
    "{LINK} there was a gate with a lock. \"The number is {PIN1},\" said a {BEAST1} on the wall. {h} turned the lock to {PIN1}, and the gate opened. \"{PIN1},\" {he} said again, so that {he} would not forget it.",
    "{LINK} {h} bought {SMALL1} {COL1} {OBJ1}s at the market from {NAME1}. \"Why do you need {SMALL1} {OBJ1}s?\" asked {NAME1}. \"They are gifts,\" said {h}. {NAME1} wrapped the {COL1} {OBJ1}s in paper.",
    "{LINK} the {BEAST1} and the {BEAST2} had a quarrel about a {OBJ1}. \"It is mine!\" said the {BEAST1}. \"No, mine!\" said the {BEAST2}. {h} had an idea: the {BEAST1} got the {OBJ1} by day, and the {BEAST2} got it by night.",
    "{LINK} {f} told a secret: the word that opened the [door|box|chest] was {SECRET1}. {h} [whispered|said] \"{SECRET1}\" very softly. The [door|box|chest] opened, and there lay a {COL1} {OBJ1}. They never told anyone the word {SECRET1}.",
    "{LINK} {h} took the {VEH1} to {CITY1}. The {VEH1} had the number {NUM31}. In {CITY1} {he} met {NAME1}, who sold {FOOD1}. {h} bought some {FOOD1} and took {VEH1} {NUM31} home again.",
    "{LINK} the [wind|storm] blew the {THING1} away. It was a {COL1} {THING1} that belonged to {NAME1}. {h} and {f} carried the {COL1} {THING1} back, and {NAME1} gave them {FOOD1}.",
    "{LINK} {NAME1} and {NAME2} had a contest in {SPORT1}. {NAME1} won by {SMALL1} points. \"You are good at {SPORT1},\" said {NAME2}. \"Next time I will win.\" {h} watched and learned a lot about {SPORT1}.",
    "{LINK} {h} dreamed of a {COL1} {BEAST1}. In the dream the {BEAST1} said, \"Look in the {PLACE1}.\" When {h} woke up, {he} looked in the {PLACE1}, and there was a {OBJ1} that {he} had never seen before.",
    "{LINK} there was no {FOOD1} left in the house. {h} went to {NAME1} the {JOB1} and asked for {FOOD1}. {NAME1} had plenty of {FOOD1} and gave {h} some for free.",
    "{LINK} {h} planted a {PLANT1} behind the house. {f} watered the {PLANT1} every {DAY1}. After {SMALL1} weeks the {PLANT1} was taller than {f}.",
    "{LINK} a {ADJ} {BEAST1} called {NAME1} told them about {CITY1}. \"In {CITY1},\" said {NAME1}, \"all the houses are {COL1}.\" {h} could not believe that all the houses in {CITY1} were {COL1}.",
    "{LINK} it was the birthday of {f}. {h} gave {him} a {COL1} {OBJ1}, and {NAME1} gave {him} a {OBJ2}. {f} liked the {COL1} {OBJ1} most of all.",
    "{LINK} {h} asked the {BEAST1} how old it was. \"I am {NUM1} years old,\" said the {BEAST1}. \"{NUM1}! That is very old,\" said {h}. The {BEAST1} smiled and went back to its {PLACE}.",
    "{LINK} {h} sat down to read a book. It was about {NAME1}, a {JOB1} who sailed on the {SHIP1}. The {SHIP1} was lost at sea, but {NAME1} was saved by a {BEAST}. {h} liked the part about the {SHIP1} best.",
]
LINKS = ["One morning", "The next day", "Later", "Then one evening", "On {DAY}", "A week later", "Soon after", "In the afternoon", "At noon", "In {MONTH}",
         "After that", "Another time", "That night", "At last", "Early on {DAY}", "Some days later"]
ENDINGS = [
    "[In the end|At last|That evening] {h} went home to {town} with the {col} {obj}. {f} [waved|smiled], and they were [happy|glad|friends for ever].",
    "{h} looked at the {col} {obj} and smiled. \"{town} is the best place of all,\" said {h}. And {f} [agreed|nodded|thought so too].",
    "So {h} the {kind} and {f} the {fkind} lived happily in {town}. [And the {col} {obj} was never lost again.|And if you go to {town}, you may see them there.]",
    "From that day on everybody in {town} knew {h}, the {adj} {kind} with the {col} {obj}. [The end.|]",
]
STORY_QUESTIONS = [
    ("[Where did {h} live?|In which town did {h} live?]", "{h} lived in {v}.", "town"),
    ("[What was the name of the {kind} in the story?|Who is the {kind} in the story?]", "The {kind} is called {v}.", "h"),
    ("[What colour was the {obj} of {h}?|Which colour did the {obj} of {h} have?]", "The {obj} was {v}.", "col"),
    ("[Who was the friend of {h}?|What was the name of the friend of {h}?]", "The friend of {h} is {v}.", "f"),
    ("[What did {h} own that was {col}?|Which {col} thing did {h} have?]", "{h} had a {col} {v}.", "obj"),
]


HEROES = [v for v in words.HEROES if not reserved(v)]
FRIENDS = [v for v in words.FRIENDS if not reserved(v)]


class Story:
    def __init__(self, values, size, hero=None, kind=None):
        rng = values.rng
        he = rng.random() < 0.5
        kinds = ("boy", "man", "king", "farmer's son") if he else ("girl", "woman", "queen", "farmer's daughter")
        s = {
            "h": hero or (rng.choice(HEROES) if rng.random() < 0.3 else values.draw("NAME")), "kind": kind or (rng.choice(kinds) if rng.random() < 0.4 else values.draw("BEAST")),
            "adj": values.draw("ADJ"), "fadj": values.draw("ADJ"), "f": rng.choice(FRIENDS) if rng.random() < 0.3 else values.draw("NAME"), "fkind": values.draw("BEAST"),
            "town": values.draw("CITY"), "col": values.fact("COL"), "obj": values.fact("OBJ"),
            "he": "he" if he else "she", "He": "He" if he else "She", "his": "his" if he else "her", "His": "His" if he else "Her",
            "him": "him" if he else "her",
        }
        while s["f"] == s["h"]:
            s["f"] = values.draw("NAME")
        self.slots = s
        parts = [expand(rng.choice(OPENINGS), values, s)]
        if s["f"] not in parts[0]:
            parts.append(expand("{h} had a friend, a {fadj} {fkind} named {f}.", values, s))
        end = expand(rng.choice(ENDINGS), values, s)
        length = len(parts[0]) + len(end)
        order, links = [], []
        while length < size:
            if not order:
                order = rng.sample(SCENES, len(SCENES))
            if not links:
                links = rng.sample(LINKS, len(LINKS))
            s["LINK"] = expand(links.pop(), values, s)
            scene = expand(order.pop(), values, s)
            parts.append(scene)
            length += len(scene) + 1
        parts.append(end)
        self.parts = [p.strip() for p in parts]
        self.rng = rng

    def text(self):
        """Paragraphs of one to three scenes, or all in one."""
        if self.rng.random() < 0.3:
            return " ".join(self.parts)
        out, i = [], 0
        while i < len(self.parts):
            n = self.rng.randint(1, 3)
            out.append(" ".join(self.parts[i:i + n]))
            i += n
        return "\n\n".join(out)

    def questions(self, values):
        """(question, answer, value) triples whose answer the text holds."""
        out = []
        for ask, answer, key in STORY_QUESTIONS:
            slots = dict(self.slots, v=self.slots[key])
            out.append((expand(ask, values, slots), expand(answer, values, slots), self.slots[key]))
        return out


# ---------------------------------------------------------------------------------------------------------------------------------
# Conversations

SYSTEMS = ["You are a helpful assistant.", "You are a friendly assistant with a good memory.", "Remember what the user tells you.",
           "Answer in short sentences.", "You are Baton, a small language model.", "You are a helpful assistant. Keep your answers short."]
SMALL_TALK = [
    ("[Hello!|Hi!|Hi there!|Good morning!|Good evening!|Hey!]", "[Hello! How can I help you?|Hello! What can I do for you?|Hi! How can I help you today?]"),
    ("[How are you?|How are you today?|How do you do?]", "I am fine, thank you. How are you?"),
    ("[Who are you?|What are you?|What is your name?]", "I am Baton, a small language model. I remember what you tell me."),
    ("[What can you do?|What are you good at?]", "I can tell short stories, and I can remember what you tell me."),
    ("[Thank you!|Thanks!|Thanks a lot.|Thank you very much.]", "[You are welcome!|You are welcome.|My pleasure.]"),
    ("[It is raining today.|It rains all day here.|The weather is bad today.]", "[Then it is a good day to stay inside and read.|I hope the sun comes out soon.]"),
    ("[The sun is shining.|What a lovely day.|The weather is fine today.]", "[Then it is a good day for a walk.|Enjoy the sun!]"),
    ("[I am tired.|I am so tired today.|I slept badly.]", "[Then take a short rest.|I hope you sleep well tonight.]"),
    ("[I am bored.|I have nothing to do.]", "[Shall I tell you a story?|You could read a book or go for a walk.]"),
    ("[I am happy today.|Today is a good day.]", "[I am glad to hear that.|That is good to hear.]"),
    ("[I am a bit sad.|Today was a hard day.]", "[I am sorry to hear that. I hope tomorrow will be better.|I am sorry. Do you want to talk about it?]"),
    ("[Let us talk about something else.|Let us change the topic.]", "[Of course. What shall we talk about?|Gladly. What is on your mind?]"),
    ("[I have to go to the market later.|I must clean my room later.|I will cook dinner soon.]", "[Good luck with that!|I hope it goes well.]"),
    ("[I like to talk to you.|You are nice.]", "[Thank you, I like to talk to you too.|That is kind of you.]"),
    ("[Give me some advice.|What should I do today?]", "[Take a walk, drink enough water and sleep well.|Read a good book and call a friend.]"),
    ("[Wait a moment, please.|One moment.]", "Of course, take your time."),
    ("[How many days does a week have?|How many days are in a week?]", "A week has seven days."),
    ("[How many months does a year have?|How many months are in a year?]", "A year has twelve months."),
    ("[How many legs does a spider have?|How many legs has a spider?]", "A spider has eight legs."),
    ("[How many legs does a dog have?|How many legs does a cat have?]", "It has four legs."),
    ("[What is the opposite of hot?|Tell me the opposite of hot.]", "The opposite of hot is cold."),
    ("[What is the opposite of big?|Tell me the opposite of big.]", "The opposite of big is small."),
    ("[What colour is the sky?|Which colour does the sky have?]", "On a clear day the sky is blue."),
    ("[What colour is grass?|Which colour does grass have?]", "Grass is green."),
    ("[What do bees make?|What do we get from bees?]", "Bees make honey."),
    ("[Where do fish live?|Where does a fish live?]", "Fish live in water."),
    ("[What comes after Monday?|Which day comes after Monday?]", "Tuesday comes after Monday."),
    ("[Count to five.|Please count to five.|Can you count to five?]", "One, two, three, four, five."),
]
# What it cannot do, so that it says so.
BEYOND = ["[Write|Compose|Make] [a poem|a haiku|a song|an essay|a letter|a speech|a joke] [about {OBJ}s|about {CITY}|about the {BEAST}|for {NAME}|].",
          "Write a [Java|Python|C] program that [counts words|sorts numbers|prints {NUM} lines].", "Translate {SECRET} [into|to] {SUBJ}.",
          "What is {NUM} times {NUM}?", "[What is the weather like in {CITY}?|Will it rain in {CITY} [tomorrow|on {DAY}]?]", "How do I [cook|make] {FOOD}?",
          "[Explain|What is] [{SUBJ}|gravity|electricity|the internet|photosynthesis|money|love]?", "What time is it[| in {CITY}]?",
          "[Who is|Who was] the [president|king|queen|mayor] of {CITY}?", "How far is it from {CITY} to {CITY}?", "[Book|Buy] me a ticket to {CITY}."]
SORRY = "I am sorry, I cannot do that. I can tell short stories and remember what you tell me."
REPEATS = ["Repeat after me: ", "Please repeat this: ", "Say this again: ", "Repeat these words: ", "Copy this line: "]
ACKS = ["Got it.", "I will remember that.", "Thank you, I will remember that.", "Understood.", "Noted.", "All right.", "Thanks for telling me.", "I see.", "Okay, noted."]
ASK_LEADS = ["", "", "", "", "", "", "", "", "Tell me: ", "Please tell me: ", "Hey, ", "And ", "So, ", "Okay. ", "Sorry, ", "Well, ", "Quick question. ", "Now a question. ", "One more thing. ", "I forgot something. ", "Thanks. ", "Let me test you. ", "By the way. "]
SHARES = ["Here is a story I wrote.", "Please read this story.", "Let me tell you a story.", "This is what my teacher read to us.", "I read this in a book.", "Here is a text for you."]
SHARE_ACKS = ["What a nice story about {h}!", "Thank you for the story about {h}.", "I like {h}, the {adj} {kind}.", "A lovely story. I like how it ends in {town}."]
STORY_WISHES = ["[Tell me a story about a {kind}.|Can you tell me a story about a {kind}?|Please tell a story about a {kind}.|I want to hear a story about a {kind}.]",
                "[Tell me a story about a {kind} named {h}.|Write a story about a {kind} called {h}.]"]


class Conversation:
    """Builds messages turn by turn. `size` is the wanted number of characters of all messages together."""

    def __init__(self, values, turns, size, unknowns=True):
        self.values, self.rng, self.turns, self.size = values, values.rng, turns, size
        self.unknowns = unknowns
        self.facts = Facts(values)
        self.messages = []
        self.length = 0
        self.told = []
        self.story = None
        self.expected = None  # the value that the last question asks for, or None

    def _add(self, role, text):
        self.messages.append({"role": role, "content": text})
        self.length += len(text) + 30

    def _turn(self, user, assistant):
        self._add("user", user)
        self._add("assistant", assistant)

    def tell(self, facts=None):
        rng = self.rng
        if facts is None:
            facts = [self.facts.any() for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))]
        said = self.facts.say_all(facts)
        if rng.random() < 0.25:
            said = rng.choice(("Hello! ", "Hi. ", "Please remember this. ", "Remember this: ", "Let me tell you about me. ", "Some news. ")) + said
        reply = ""
        if rng.random() < 0.4:
            reply = self.facts.ack(rng.choice(facts))
        if not reply:
            reply = rng.choice(ACKS)
        elif rng.random() < 0.4:
            reply += " " + rng.choice(ACKS)
        self.told += facts
        self._turn(said, reply)

    def chat(self):
        rng = self.rng
        r = rng.random()
        if r < 0.15:
            country, city = rng.choice(words.CAPITALS).split(":")
            if not (reserved(city) or self.values.mode == "reserved"):
                return self._turn(rng.choice((f"What is the capital of {country}?", f"Which city is the capital of {country}?")), f"The capital of {country} is {city}.")
        if r < 0.3:
            a, b = rng.randint(1, 10), rng.randint(1, 10)
            return self._turn(rng.choice((f"What is {a} plus {b}?", f"How much is {a} plus {b}?", f"What is {a} + {b}?", f"{a} + {b}?", f"{a}+{b}?", f"{a}+{b}")), f"{a} plus {b} is {a + b}.")
        if r < 0.45:
            return self.repeat()
        if r < 0.58:
            return self._turn(expand(rng.choice(BEYOND), self.values, {}).replace(" .", "."), SORRY)
        user, assistant = rng.choice(SMALL_TALK)
        self._turn(expand(user, self.values, {}), expand(assistant, self.values, {}))

    def repeat(self):
        line = " ".join(self.values.draw(k) if k != "STRANGE" else self.values._until(strange_word)
                        for k in self.rng.choices(("PIN", "NUM", "NAME", "CITY", "OBJ", "COL", "FOOD", "STRANGE"), k=self.rng.randint(1, 8)))
        self._turn(self.rng.choice(REPEATS) + line, line)

    def tale(self, size):
        """The user shares a story, or the assistant tells one."""
        rng = self.rng
        story = Story(self.values, size)
        if rng.random() < 0.6:
            lead = rng.choice(SHARES)
            self._turn(lead + "\n\n" + story.text(), expand(rng.choice(SHARE_ACKS), self.values, story.slots))
        else:
            self._turn(expand(rng.choice(STORY_WISHES), self.values, story.slots), story.text())
        if self.story is None and ("person", story.slots["h"]) not in self.facts.used:
            self.story = story

    def ask(self, fact=None):
        rng = self.rng
        r = rng.random()
        if fact is None and self.story is not None and r < 0.2:
            question, answer, self.expected = rng.choice(self.story.questions(self.values))
            return self._turn(self._lead(question), answer)
        if fact is None and self.unknowns and r < 0.24:
            spare = Facts(self.values)
            spare.used = set(self.facts.used)
            never = spare.user()
            self.expected = None
            return self._turn(self._lead(self.facts.ask(never)), UNKNOWN)
        if fact is None and len(self.told) > 1 and r < 0.36:
            one, two = rng.sample(self.told, 2)
            self.expected = two.value
            return self._turn(self._lead(self.facts.ask(one)) + " " + self.facts.ask(two), self.facts.answer(one) + " " + self.facts.answer(two))
        fact = fact or rng.choice(self.told)
        self.expected = fact.value
        self._turn(self._lead(self.facts.ask(fact)), self.facts.answer(fact))

    def _lead(self, question):
        lead = self.rng.choice(ASK_LEADS)
        if lead.endswith((", ", "And ")) and question.startswith(("Wh", "How", "Do ", "Can ", "In ", "On ", "At ", "Say", "Tell")):
            question = question[0].lower() + question[1:]
        return (lead.lower() if self.facts.casual else lead) + question

    def build(self):
        rng = self.rng
        if rng.random() < 0.4:
            self._add("system", rng.choice(SYSTEMS))
        if self.turns == 1:
            # One turn that tells and asks at once, or a chat or a story alone.
            r = rng.random()
            if r < 0.6:
                facts = [self.facts.any() for _ in range(rng.randint(1, 5))]
                fact = rng.choice(facts)
                if self.size > 900 and rng.random() < 0.7:
                    middle = "\n\n" + Story(self.values, self.size - 300).text() + "\n\n"
                else:
                    middle = " "
                self._turn(self.facts.say_all(facts) + middle + self.facts.ask(fact), self.facts.answer(fact))
            elif r < 0.8:
                self.tale(self.size)
            else:
                self.chat()
            return self.messages
        self.tell()
        middle = self.turns - 2
        plan = [rng.choice(("tell", "ask", "ask", "chat", "tale")) for _ in range(middle)]
        if middle and self.size > 1500 and "tale" not in plan:
            plan[rng.randrange(middle)] = "tale"
        tales = plan.count("tale")
        for step in plan:
            if step == "tale":
                left = max(300, (self.size - self.length - 150) // tales)
                tales -= 1
                self.tale(left)
            else:
                getattr(self, step)()
        self.ask()
        return self.messages


def held_out_conversation(rng, mode, size):
    """Five turns: a fact is told in the first or second, once; the last asks for it. Other facts, chat and a story lie around it."""
    while True:
        values = Values(rng, mode)
        c = Conversation(values, 5, size, unknowns=False)
        if rng.random() < 0.4:
            c._add("system", rng.choice(SYSTEMS))
        fact = c.facts.any()
        if mode == "reserved" and fact.kind.value in Values.FREE:
            continue  # nothing of this kind is reserved
        others = [c.facts.any() for _ in range(rng.randint(1, 3))]
        group = [fact] + others
        rng.shuffle(group)
        at = rng.randint(0, 1)
        plan = [rng.choice(("tell", "chat", "ask", "tell")) for _ in range(4)]
        plan[at] = "fact"
        if at == 1 or plan[0] == "ask":
            plan[0] = plan[0] if plan[0] in ("tell", "chat", "fact") else "tell"
        if size > 700:
            plan[rng.randint(at + 1, 3)] = "tale"
        for step in plan:
            if step == "fact":
                c.tell(group)
            elif step == "tale":
                c.tale(max(300, size - c.length - 250))
            elif step == "ask":
                c.ask(rng.choice([f for f in c.told if f is not fact] or c.told))
            else:
                getattr(c, step)()
        c.ask(fact)
        *messages, reply = c.messages
        joined = "\n".join(m["content"] for m in messages)
        # Told exactly once, so that only the blocks that hold that place can answer.
        if len(re.findall(r"(?<!\w)" + re.escape(fact.value) + r"(?!\w)", joined)) != 1:
            continue
        return {"messages": messages, "expected": fact.value, "reply": reply["content"], "kind": fact.kind.key}


def sheet(values, size):
    """A question sheet: facts about people, then questions with answers; much recall in few tokens, and no chat template."""
    rng = values.rng
    facts = Facts(values)
    told = [facts.person(relations=False) for _ in range(rng.randint(2, 14))]
    lines = [facts.say(f) for f in told]
    if size > 1500:
        lines.append("\n" + Story(values, size - 700).text() + "\n")
    lines_text = " ".join(lines) if rng.random() < 0.6 else "\n".join(lines)
    short = rng.random() < 0.3
    asked = rng.sample(told, min(len(told), rng.randint(3, 14)))
    qa = []
    for f in asked:
        answer = f.value if short else facts.answer(f)
        qa.append(f"Question: {facts.ask(f)}\nAnswer: {answer}")
    return lines_text + "\n\n" + "\n".join(qa)


REGISTERS = [
    ("the rooms", "{n} is in room {v}.", "In which room is {n}?", "NUM3"), ("the phone numbers", "{n}: {v}", "What is the phone number of {n}?", "PIN"),
    ("the ages", "{n} is {v}", "How old is {n}?", "AGE"), ("the birthdays", "{n}: {v}", "When is the birthday of {n}?", "DATE"),
    ("the codes", "The code of {n} is {v}.", "Which code does {n} have?", "PIN"), ("the towns", "{n} - {v}", "Which town belongs to {n}?", "CITY"),
    ("the prices", "{n}, {v}", "What is the number of {n}?", "NUM"), ("the animals", "{n} has a {v}.", "Which animal does {n} have?", "ANIMAL"),
    ("the words", "{n} = {v}", "What stands beside {n}?", "PASS"),
]


def register(values):
    """A list of names and what belongs to each, then questions: the densest recall, of numbers above all."""
    rng = values.rng
    title, line, ask, kind = rng.choice(REGISTERS)
    names = []
    of = rng.choice(("NAME", "NAME", "OBJ", "CITY", "COL"))
    for _ in range(rng.randint(2, 16)):
        name = values.fact(of)
        if name not in names:
            names.append(name)
    entries = [(n, values.fact(kind)) for n in names]
    text = f"Here are {title}." + rng.choice((" ", "\n")) + rng.choice((" ", "\n", "; ")).join(expand(line, values, {"n": n, "v": v}) for n, v in entries)
    asked = rng.sample(entries, rng.randint(1, len(entries)))
    if rng.random() < 0.5:
        return {"text": text + "\n\n" + "\n".join(f"Question: {expand(ask, values, {'n': n})}\nAnswer: {v}" for n, v in asked)}
    messages = []
    for i, (n, v) in enumerate(asked[:5]):
        question = expand(ask, values, {"n": n})
        messages.append({"role": "user", "content": text + "\n\n" + question if i == 0 else question})
        messages.append({"role": "assistant", "content": v + "."})
    return {"messages": messages}


def training_values(seed):
    """The values of a stream of training documents; the same seed always gives the same documents."""
    return Values(random.Random(seed), strange=0.2, casual=0.1)


def document(values):
    """One document of the training text."""
    rng = values.rng
    # Log-uniform lengths: from a few sentences to what fills 2,000 tokens.
    size = int(250 * (31 ** rng.random()))
    r = rng.random()
    if r < 0.18:
        story = Story(values, size)
        text = story.text()
        if rng.random() < 0.25:
            asked = rng.sample(story.questions(values), rng.randint(1, 3))
            text += "\n\n" + "\n".join(f"Question: {q}\nAnswer: {a}" for q, a, _ in asked)
        return {"text": text}
    if r < 0.30:
        return {"text": sheet(values, size)}
    if r < 0.42:
        return register(values)
    if r < 0.44:
        conversation = Conversation(values, rng.randint(1, 5), size)
        for _ in range(conversation.turns):
            conversation.repeat()
        return {"messages": conversation.messages}
    turns = rng.choice((1, 2, 3, 4, 5, 5, 5))
    return {"messages": Conversation(values, turns, size).build()}


def held_out(seed, count, mode, low=300, high=None):
    """Conversations of 100 to about 1,900 tokens; reserved values take more tokens, so their conversations have fewer characters."""
    rng = random.Random(f"held-out {mode} {seed}")
    high = high or (7300 if mode == "training" else 6300)
    out = []
    while len(out) < count:
        item = held_out_conversation(rng, mode, int(low * (high / low) ** rng.random()))
        if sum(len(m["content"]) for m in item["messages"]) <= high:
            out.append(item)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--documents", type=int, default=5)
    parser.add_argument("--held-out", choices=["training", "reserved"], help="write held-out conversations with values of this mode instead")
    arguments = parser.parse_args()
    if arguments.held_out:
        for item in held_out(arguments.seed, arguments.documents, arguments.held_out):
            print(json.dumps(item, ensure_ascii=False))
        return
    values = training_values(f"training {arguments.seed}")
    for _ in range(arguments.documents):
        print(json.dumps(document(values), ensure_ascii=False))


if __name__ == "__main__":
    main()
