"""Fixing: the verb ``fix``, the remedies that the verb tries, and the page of a fix."""

from firstlight.fixing.fix import fix as fix
from firstlight.fixing.page import repair_fragment as repair_fragment
from firstlight.fixing.page import repair_html as repair_html
from firstlight.fixing.page import repair_text as repair_text
from firstlight.fixing.result import FixResult as FixResult
