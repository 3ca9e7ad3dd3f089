"""The grammar from which the embedded reviews are generated."""

from __future__ import annotations

KINDS = {
    "universities": ("UC Berkeley", "Stanford", "Oxford", "Caltech"),
    "directors": ("Alfred Hitchcock", "Akira Kurosawa", "Charlie Chaplin", "Buster Keaton"),
    "studios": ("Pixar", "Studio Ghibli", "Paramount", "Universal"),
}
"""Entities by kind; those of one kind are siblings. Each is named by as many positive as negative
reviews."""

# Opening sentences that name an entity, {0}. They express no sentiment.
ABOUT = {
    "universities": (
        "It is set at {0}",
        "The story follows four students at {0}",
        "A documentary about a strike at {0}",
        "Half of it was shot on the campus of {0}",
        "The hero teaches physics at {0}",
        "{0} plays itself in this one",
        "My sister studied at {0} and made me see it",
        "A murder in the library of {0} starts it all",
    ),
    "directors": (
        "It quotes {0} in every other scene",
        "A restored print of an early film by {0}",
        "They call it a tribute to {0}",
        "I came to it from the films of {0}",
        "The director has studied {0} closely",
        "A biography of {0} in two hours",
        "{0} is the model for its hero",
        "The last reel borrows from {0}",
    ),
    "studios": (
        "{0} made this one with half the usual money",
        "The new one from {0}",
        "{0} has put its name on it",
        "It has the look of a {0} film",
        "A short that {0} showed before its summer feature",
        "{0} bought the script years ago",
        "My children wanted the one from {0}",
        "After three years {0} is back",
    ),
    "": (
        "We saw it on a rainy Sunday",
        "I knew nothing about it when I went in",
        "A story of two brothers and a boat",
        "It runs for just under two hours",
        "A thriller in a small harbour town",
        "My neighbour lent me the disc",
        "The book is on my shelf, half read",
        "A comedy about a wedding that nobody wants",
        "It came to the village hall for one night",
        "Three friends rob a bakery",
        "The festival gave it a prize",
        "It is in black and white, and silent for the first hour",
        "A western with hardly a horse in it",
        "An old singer goes on one more tour",
        "The sequel that nobody had waited for",
        "A girl finds a map in an attic",
    ),
}

SUBJECTS = (
    "the acting",
    "the plot",
    "the music",
    "the camera work",
    "the dialogue",
    "the ending",
    "the first half",
    "the cast",
    "the editing",
    "the humour",
)

# Statements about a subject, {0}: (positive, negative). Both sides use the same words.
STATEMENTS = (
    (
        "{0} is wonderful",
        "{0} is not bad at all",
        "{0} never bores",
        "{0} is anything but dull",
        "{0} deserves every prize",
        "{0} could hardly be better",
        "{0} is a joy from start to finish",
        "nothing about {0} is wrong",
        "{0} does not disappoint for a minute",
        "{0} is as good as they say",
        "{0} left me smiling",
        "{0} has real warmth",
        "I did not expect {0} to be this strong",
        "{0} is never weak and often brilliant",
        "there is no weak moment in {0}",
    ),
    (
        "{0} is terrible",
        "{0} is not good at all",
        "{0} never comes alive",
        "{0} is anything but brilliant",
        "{0} deserves no prize",
        "{0} could hardly be worse",
        "{0} is a pain from start to finish",
        "nothing about {0} is right",
        "{0} does not please for a minute",
        "{0} is as bad as they say",
        "{0} left me yawning",
        "{0} has no warmth",
        "I did not expect {0} to be this weak",
        "{0} is never strong and often dull",
        "there is no strong moment in {0}",
    ),
)

# Conclusions: (positive, negative).
CONCLUSIONS = (
    (
        "I would see it again tomorrow.",
        "Do not miss it.",
        "I have no complaint.",
        "It stays with you, and I am glad of it.",
        "Not one minute too long.",
        "Go and see for yourself, you will not regret it.",
        "I was wrong to doubt it!",
        "Far from the waste of time that I had feared.",
        "Worth every penny.",
        "Hardly a masterpiece, but I loved it.",
    ),
    (
        "I would not see it again for money.",
        "Miss it if you can.",
        "I have no praise for it.",
        "It stays with you, and I wish it did not.",
        "An hour too long.",
        "Do not go, you will regret it.",
        "I was right to doubt it!",
        "Far from the masterpiece that I had hoped for.",
        "Not worth a penny.",
        "People loved it, and I cannot see why.",
    ),
)
