"""What the test and its Python programs have between them: features asked for by name, and events that handlers note."""

import json
import sys
import threading
import traceback


def reply(**message):
    sys.stdout.write('@@' + json.dumps(message) + '\n')
    sys.stdout.flush()


def serve(features):
    """Runs the features that the test asks for by name until the test is over; one that never ends holds up no other."""

    def run(feature):
        try:
            reply(feature=feature, result=features[feature]())
        except Exception:
            reply(feature=feature, error=traceback.format_exc())

    reply(feature='ready')
    for line in sys.stdin:
        threading.Thread(target=run, args=(line.strip(),), daemon=True).start()


class Inbox:
    """Notes what handlers receive, so that a feature can wait for it."""

    def __init__(self):
        self._heard = {}
        self._changed = threading.Condition()

    def note(self, name, value):
        """Gives how many there are of that name, this one included."""
        with self._changed:
            self._heard.setdefault(name, []).append(value)
            self._changed.notify_all()
            return len(self._heard[name])

    def until(self, name, count):
        """Everything that came under a name once there are `count` of it."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._heard.get(name, [])) >= count)
            return self._heard[name]


def parsed(data, content_type):
    """The value of an event: JSON as what it says, anything else as text."""
    text = data.decode() if isinstance(data, bytes) else data
    if isinstance(text, str) and 'json' in (content_type or ''):
        return json.loads(text)
    return text
