import pytest

from gipo_cli.diagnostics import columns, order_statistics


@pytest.fixture(autouse=True, params=["whole", "in blocks"])
def blocks(request, monkeypatch):
    """Every statistic of columns that are one block, and of the same in many: its closed forms hold for both."""
    if request.param == "in blocks":
        monkeypatch.setattr(columns, "BLOCK", 97)
        monkeypatch.setattr(order_statistics, "BLOCK", 97)
        monkeypatch.setattr(order_statistics, "IN_MEMORY", 97)
