"""Auditing: the verb ``audit``, its result, and the forms of the result: page, text, plain data."""

from firstlight.auditing.audit import audit as audit
from firstlight.auditing.audit import audit_from_dict as audit_from_dict
from firstlight.auditing.audit import examine as examine
from firstlight.auditing.page import audit_fragment as audit_fragment
from firstlight.auditing.page import audit_html as audit_html
from firstlight.auditing.page import verdict_cards as verdict_cards
from firstlight.auditing.record import audit_dict as audit_dict
from firstlight.auditing.result import AuditResult as AuditResult
from firstlight.auditing.text import audit_plain as audit_plain
from firstlight.auditing.text import audit_text as audit_text
from firstlight.auditing.text import print_audit as print_audit
