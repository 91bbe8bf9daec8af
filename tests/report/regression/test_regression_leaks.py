"""A regression whose test part is not clean."""

from clearmargin.report import write_report


def test_every_figure_of_a_leaky_regression_says_so(synthetic_regression, reading, leaking):
    run_folder = synthetic_regression(seeds=5)
    leaking.leak(run_folder)
    write_report(run_folder)
    leaking.assert_all_leaky(run_folder, reading)
    assert {"scatter", "residuals", "lines", "repeats"} <= set(reading.read_page(run_folder).ids)
