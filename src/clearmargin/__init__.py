"""clearmargin: from a folder of labelled tumour images to a result a reviewer believes."""
