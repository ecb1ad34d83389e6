"""The analysis data service."""

from ._workspaces import GroupBody, Workspace, handle


class AnalysisDataServiceImpl:
    def __init__(self):
        self._bodies = {}

    def add(self, name, item):
        if name in self._bodies:
            raise RuntimeError(f"Unable to insert Data Object : '{name}', it already exists.")
        self.addOrReplace(name, item)

    def addOrReplace(self, name, item):
        if not name:
            raise ValueError("Cannot add an object with an empty name")
        body = item._body if isinstance(item, Workspace) else item
        self._bodies[name] = body
        body.name = name
        if isinstance(body, GroupBody):
            for i, member in enumerate(body.members):
                if not member.name:
                    self.addOrReplace(f"{name}_{i + 1}", member)

    def remove(self, name):
        body = self._bodies.pop(name, None)
        for group in [b for b in self._bodies.values() if isinstance(b, GroupBody)]:
            group.members = [m for m in group.members if m is not body]

    def retrieve(self, name):
        return self[name]

    def retrieveWorkspaces(self, names, unrollGroups=False):
        return [self[n] for n in names]

    def doesExist(self, name):
        return name in self._bodies

    def getObjectNames(self):
        return sorted(self._bodies)

    def size(self):
        return len(self._bodies)

    def clear(self):
        self._bodies.clear()

    def __getitem__(self, name):
        if name not in self._bodies:
            raise KeyError(f"'{name}' does not exist.")
        return handle(self._bodies[name], weak=True)

    def __contains__(self, name):
        return name in self._bodies

    def __len__(self):
        return len(self._bodies)

    def _body(self, name):
        return self._bodies.get(name)


AnalysisDataService = mtd = AnalysisDataServiceImpl()
