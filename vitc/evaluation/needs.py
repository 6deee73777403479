"""Says what to install where an evaluation cannot be made."""

try:
    import scipy
    import sklearn
except ImportError:
    raise ImportError('evaluation needs scikit-learn: pip install "vitc[metrics]"') from None

VERSIONS = {"scikit-learn": str(sklearn.__version__), "scipy": str(scipy.__version__)}
