"""Audit a labelled data set: is the network right, where does it look, does it use shortcuts?

The network here has learnt a planted shortcut; this takes a minute. Writes audit.html,
audit.findings.json, audit.npz, audit.manifest.json and audit.tables.
"""

from captum_cnn_ext.insights import audit_dataset
from captum_cnn_ext.insights.dataset.demo import demo

model, photos = demo()  # or load_model(...), labelled_photos("folder of class folders")
done = audit_dataset(model, photos)

for finding in done.findings:
    if finding.verdict != "fine":
        print("-", finding.text)
print(done.save("audit.html"))
