"""General instruction data of the demo, own text: short questions with short answers, mixed into SFT (section 5.3)."""

from magistral_api.problems import SftRow

_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Poland": "Warsaw", "Norway": "Oslo",
    "Greece": "Athens", "Japan": "Tokyo", "Egypt": "Cairo", "Kenya": "Nairobi", "Peru": "Lima", "Cuba": "Havana",
    "Canada": "Ottawa", "India": "New Delhi", "China": "Beijing", "Portugal": "Lisbon", "Austria": "Vienna",
    "Hungary": "Budapest", "Ireland": "Dublin", "Finland": "Helsinki",
}
_OPPOSITES = {
    "hot": "cold", "big": "small", "early": "late", "open": "closed", "fast": "slow", "light": "dark", "full": "empty",
    "young": "old", "near": "far", "loud": "quiet", "wet": "dry", "high": "low", "soft": "hard", "rich": "poor",
}
_PLURALS = {
    "mouse": "mice", "child": "children", "foot": "feet", "leaf": "leaves", "city": "cities", "box": "boxes",
    "knife": "knives", "man": "men", "tooth": "teeth", "wolf": "wolves", "goose": "geese", "bus": "buses",
}
_ADVICE = {
    "How do I boil an egg?": "Put the egg into boiling water, wait eight minutes, then cool it under cold water.",
    "How do I stay healthy?": "Sleep enough, move every day, eat fresh food and see your friends.",
    "Write a short greeting for a new colleague.": "Welcome to the team! We are glad that you are here.",
    "Say thank you to a friend who helped you move.": "Thank you for your help with the move. I owe you a dinner.",
    "Why does ice float on water?": "Ice is less dense than water, because water expands when it freezes.",
    "Why is the sky blue?": "Air scatters blue light from the sun more than red light.",
    "What does a bee do for a flower?": "It carries pollen from one flower to the next, so that seeds can grow.",
    "Give one reason to write tests.": "A test tells you at once when a change breaks what worked before.",
}


def general_rows() -> list[SftRow]:
    """Every row, in a fixed order."""
    pairs = [(f"What is the capital of {country}?", f"The capital of {country} is {city}.")
             for country, city in _CAPITALS.items()]
    pairs += [(f"What is the opposite of {word}?", f"The opposite of {word} is {other}.")
              for word, other in _OPPOSITES.items()]
    pairs += [(f"What is the plural of {word}?", f"The plural of {word} is {many}.") for word, many in _PLURALS.items()]
    pairs += list(_ADVICE.items())
    return [SftRow(id=f"general-{index}", prompt=prompt, response=response, source="general")
            for index, (prompt, response) in enumerate(pairs)]
