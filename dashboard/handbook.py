"""What the help page says: the method step by step, the glossary."""

GLOSSARY = (
    ("Backdoor", "Hidden behaviour that somebody trained into a model: with a trigger in the image "
     "it answers what the attacker wants, without it everything looks normal."),
    ("Trigger", "The change of the image that opens the backdoor: a sticker, a faint pattern or "
     "wave, a slight bend."),
    ("Target label", "The answer that the trigger forces."),
    ("Clean images", "A few hundred labelled images that you trust. All thresholds come from "
     "them."),
    ("Filter", "One channel of a layer; what reacts to one kind of feature."),
    ("Filter mask", "A number between 0 and 1 per filter, learned while the model recovers. 1: the "
     "filter came back. 0: it did not."),
    ("Unlearned share", "Share of clean images that the unlearned model sends to a label."),
    ("Trigger ratio", "Size of a label's recovered trigger over the median of all labels. Small is "
     "suspicious."),
    ("Margin ratio", "How sure of a label any image at all can make the model, over the median of "
     "all labels. Far above 1 is suspicious."),
    ("Wave lead", "How much more surely a faint wave over the image leads to a label than to any "
     "other, in logits. Above 2 is suspicious."),
    ("Anomaly index", "How many median absolute deviations a label's trigger lies below the median "
     "of all labels (Neural Cleanse). Above 2 stands out."),
    ("Flip rate", "Share of the clean images it is meant for that the recovered trigger turns into "
     "its label. Estimated: the attacker's own trigger is unknown."),
    ("Suspicion score", "How much confidence in its answer an image loses by the repair. Higher is "
     "more suspicious."),
    ("Backdoor score", "Score of the most suspicious label, 0 to 1; comparable between models."),
)

HELP_STEPS = (
    ("step-triage.svg", "1. Look at the file", "A checkpoint can hold code. It is read in a "
     "confined process that rebuilds the tensors and runs nothing; you see what it would import."),
    ("step-unlearn.svg", "2. Unlearn", "The model is made to forget your clean images. The honest "
     "classes fade; a backdoor stays, and the answers drift to its target label."),
    ("step-recover.svg", "3. Recover", "One mask per filter tries to bring the clean behaviour "
     "back. The filters that do not come back served something else."),
    ("step-trigger.svg", "4. Recover the trigger", "For every label the scanner looks for the "
     "smallest change of an image that leads to it. A backdoor makes one label far too easy."),
    ("step-repair.svg", "5. Remove", "As few filters as possible are pruned. Where that is not "
     "enough, the model is tuned briefly so that the trigger loses its power."),
    ("step-samples.svg", "6. Check images", "An image is suspicious when the repaired model no "
     "longer trusts the answer of the original one."),
)
