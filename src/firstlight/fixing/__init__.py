"""Fixing: the verb ``fix``, the remedies that the verb tries, and the page of a fix."""

from firstlight.fixing.fix import fix as fix
from firstlight.fixing.page import fix_fragment as fix_fragment
from firstlight.fixing.page import fix_html as fix_html
from firstlight.fixing.page import fix_text as fix_text
from firstlight.fixing.result import FixResult as FixResult
