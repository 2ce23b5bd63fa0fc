# The main job, inside the microVM: what is uploaded is all there is, since nothing is allowed out.
set -eu
cd material
tar xf boltons-*.tar.gz
python3 -m pip install --quiet --disable-pip-version-check --no-index --find-links . --target site pytest
cd boltons-*/
PYTHONPATH=../site exec python3 -m pytest -q -p no:cacheprovider --junitxml="$HOME/junit.xml" tests
