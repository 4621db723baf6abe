"""Collects an ended session. `collect` calls the steps in order: files, report, manifests, download, extras, judgement."""
